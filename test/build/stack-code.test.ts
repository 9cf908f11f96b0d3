import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import vm from "node:vm";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { STACK, stackTemplate } from "../../build.mjs";
import { type Fault, REFUSED } from "../ec2/faults.ts";
import { ENDPOINT_ID } from "../ec2/server.ts";
import { ALLOWED } from "../helpers/answers.ts";
import { statuses, stopBuilt, useEc2 } from "../helpers/built.ts";
import { connectEvent } from "../helpers/events.ts";
import { DIST, Lambda } from "../helpers/lambda.ts";
import {
  ALL,
  createStack,
  environmentOf,
  ONLY_WHAT_IS_NEEDED,
  propertiesOf,
  readTemplate,
  type Stack,
} from "./cloudformation.ts";

// The code inside dist/stack.yaml: that it is the bundle, and works as what CloudFormation makes of it.

const source = readFileSync(STACK, "utf8");
const template = readTemplate(readFileSync(`${DIST}stack.yaml`, "utf8"));
const byDefault = createStack(template, ONLY_WHAT_IS_NEEDED);
const withAll = createStack(template, ALL);

function codeOf(stack: Stack, name: string): string {
  const { ZipFile } = Object(propertiesOf(stack, name).Code);
  return ZipFile;
}

describe("the code in the template", () => {
  const ec2 = useEc2();
  const folder = mkdtempSync(join(tmpdir(), "client-vpn-stack-"));
  const file = join(folder, "index.js");

  beforeAll(() => writeFileSync(file, codeOf(byDefault, "Handler")));
  afterAll(() => rmSync(folder, { recursive: true }));

  /** Loads the code under the name that CloudFormation gives it, with a function's environment. */
  async function start(stack: Stack, name: string): Promise<Lambda> {
    const env = { ...ec2.env, ...environmentOf(stack, name), AWS_LAMBDA_LOG_FORMAT: "JSON" };
    const lambda = await Lambda.start(file, env);
    onTestFinished(() => stopBuilt(lambda));
    return lambda;
  }

  test.each(["Handler", "Sweep"])("of %s is the bundle, byte for byte", (name) => {
    expect(Buffer.from(codeOf(byDefault, name)).equals(readFileSync(`${DIST}index.cjs`))).toBe(true);
  });

  test("has no dynamic reference, which CloudFormation would resolve", () => {
    expect(codeOf(byDefault, "Handler")).not.toContain("{{resolve:");
  });

  test("is CommonJS, which newer versions of Node.js do not insist on in a file of its name", () => {
    expect(() => new vm.Script(codeOf(byDefault, "Handler"))).not.toThrow();
  });

  test("ends an older session where there is nothing but index.js, and logs it as JSON", async () => {
    const [older, stranger] = [ec2.addConnection(), ec2.addConnection({ username: "bob" })];
    const lambda = await start(byDefault, "Handler");
    const { response, log } = await lambda.invoke(connectEvent());
    expect(response).toStrictEqual(ALLOWED);
    expect(statuses([older, stranger])).toStrictEqual(["terminated", "active"]);
    expect(log).toMatchObject([{ level: "info", message: [{ terminated: [older.connectionId] }] }]);
  });

  test("sweeps the endpoint that the schedule's input names", async () => {
    const older = ec2.addConnection();
    ec2.addConnection({ establishedAt: new Date() });
    const { Input } = Object(propertiesOf(byDefault, "Schedule").Target);
    const lambda = await start(byDefault, "Sweep");
    const { response } = await lambda.sweep(JSON.parse(Input));
    expect(response).toMatchObject({ "endpoint-id": ENDPOINT_ID, terminated: [older.connectionId] });
  });

  test("takes all settings when none is the default", async () => {
    const older = ec2.addConnection();
    const lambda = await start(withAll, "Handler");
    const { response, log } = await lambda.invoke(connectEvent({ "common-name": "alice" }));
    expect(response).toStrictEqual(ALLOWED);
    expect(log).toMatchObject([{ level: "info", message: [{ dryRun: { decision: "allow" } }] }]);
    expect(older.status).toBe("active");
  });

  test.each<[filtered: string, stack: Stack, fault: Fault | undefined, expected: boolean]>([
    ["finds what ON_FAILURE=allow let in unchecked", onFailure("allow"), REFUSED, true],
    ["finds what a dry run let in unchecked", withAll, REFUSED, true],
    ["leaves out a denial, which Client VPN counts", byDefault, REFUSED, false],
    ["leaves out a login that was checked", onFailure("allow"), undefined, false],
  ])("writes log entries of which the metric filter %s", async (_, stack, fault, expected) => {
    const { FilterPattern } = propertiesOf(withAll, "UncheckedLogin");
    if (fault) ec2.fail("DescribeClientVpnConnections", fault);
    const lambda = await start(stack, "Handler");
    const { log } = await lambda.invoke(connectEvent({ "common-name": "alice" }));
    expect(log.map(({ message }) => matches(String(FilterPattern), message[0]))).toStrictEqual([expected]);
  });
});

function onFailure(OnFailure: string): Stack {
  return createStack(template, { ...ONLY_WHAT_IS_NEEDED, OnFailure });
}

/** Reads a CloudWatch Logs filter pattern, `{ $.message.field = "text" && $.message.field > 1 }`, as far as it is used. */
function matches(pattern: string, entry: unknown): boolean {
  const [, conditions = ""] = /^\{ (.+) \}$/.exec(pattern) ?? [];
  return conditions.split(" && ").every((condition) => {
    const [, field = "", sign, value = ""] = /^\$\.message\.(\w+) (=|>) (.+)$/.exec(condition) ?? [];
    const actual = Object(entry)[field];
    return sign === "=" ? actual === JSON.parse(value) : sign === ">" && actual > JSON.parse(value);
  });
}

describe("the build of the template", () => {
  const PLACE = "ZipFile: THE_CODE";

  test("gives back any code in ASCII, whatever YAML might read in it", () => {
    const ascii = String.fromCharCode(...Array.from({ length: 127 }, (_, i) => i));
    const code = `${ascii}\n\n  - # : '\n---\n...\n  \n`;
    const { resources } = createStack(readTemplate(stackTemplate(source, code)), ONLY_WHAT_IS_NEEDED);
    expect(resources.Handler?.Properties.Code).toStrictEqual({ ZipFile: code });
    expect(resources.Sweep?.Properties.Code).toStrictEqual({ ZipFile: code });
  });

  test("fails when there are not two places for the code", () => {
    expect(() => stackTemplate(source.replace(PLACE, ""), "")).toThrow("1 places for the code, not 2");
    expect(() => stackTemplate(source.replaceAll(PLACE, ""), "")).toThrow("0 places for the code, not 2");
    expect(() => stackTemplate(`${source}${PLACE}`, "")).toThrow("3 places for the code, not 2");
  });

  test("fails on a character that YAML might not take, in the code and in the template", () => {
    for (const character of ["\u007f", "\u0085", "\u2028", "\ufeff", "ü", "😀"]) {
      expect(() => stackTemplate(source, character)).toThrow("not printable ASCII");
      expect(() => stackTemplate(`${source}# ${character}`, "")).toThrow("not printable ASCII");
    }
  });

  test("fails when the template is too large to upload", () => {
    expect(() => stackTemplate(source, "x".repeat(480_000))).not.toThrow();
    expect(() => stackTemplate(source, "x".repeat(500_000))).toThrow("the template has too many bytes: 10");
  });
});
