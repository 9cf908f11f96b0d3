import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import vm from "node:vm";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DASHBOARD, STACK, stackTemplate } from "../../build.mjs";
import { REFUSED } from "../ec2/faults.ts";
import { ENDPOINT_ID } from "../ec2/server.ts";
import { ALLOWED } from "../helpers/answers.ts";
import { callsTo, statuses, useBuilt, useEc2 } from "../helpers/built.ts";
import { connectEvent } from "../helpers/events.ts";
import { DIST, type Invocable } from "../helpers/lambda.ts";
import {
  ALL,
  createStack,
  environmentOf,
  ONLY_WHAT_IS_NEEDED,
  propertiesOf,
  readTemplate,
  type Stack,
} from "./cloudformation.ts";
import { takenBy } from "./metric-filter.ts";

// The code inside dist/stack.yaml: that it is the bundle, and works as what CloudFormation makes of it.

const source = readFileSync(STACK, "utf8");
const dashboard = readFileSync(DASHBOARD, "utf8");
const template = readTemplate(`${DIST}stack.yaml`);
const byDefault = createStack(template, ONLY_WHAT_IS_NEEDED);
const enforcing = createStack(template, { ...ONLY_WHAT_IS_NEEDED, DryRun: "false" });
const withAll = createStack(template, ALL);

const folder = mkdtempSync(join(tmpdir(), "client-vpn-stack-"));
afterAll(() => rmSync(folder, { recursive: true }));

function codeOf(stack: Stack): string {
  const { ZipFile } = Object(propertiesOf(stack, "Handler").Code);
  return ZipFile;
}

describe("the code in the template", () => {
  const ec2 = useEc2();
  const file = join(folder, "index.js");
  beforeAll(() => writeFileSync(file, codeOf(byDefault)));

  const { lambda } = useBuilt(ec2, file, { AWS_LAMBDA_LOG_FORMAT: "JSON" });

  /** Loads the code under the name that CloudFormation gives it, with the function's environment. */
  function start(stack: Stack): Promise<Invocable> {
    return lambda().loadWith(environmentOf(stack));
  }

  test("is the bundle, byte for byte", () => {
    expect(Buffer.from(codeOf(byDefault)).equals(readFileSync(`${DIST}index.cjs`))).toBe(true);
  });

  test("has no dynamic reference, which CloudFormation would resolve", () => {
    expect(codeOf(byDefault)).not.toContain("{{resolve:");
  });

  test("is CommonJS, which newer versions of Node.js do not insist on in a file of its name", () => {
    expect(() => new vm.Script(codeOf(byDefault))).not.toThrow();
  });

  test("ends an older session where there is nothing but index.js, and logs it as JSON", async () => {
    const [older, stranger] = [ec2.addConnection(), ec2.addConnection({ username: "bob" })];
    const lambda = await start(enforcing);
    const { response, log } = await lambda.invoke(connectEvent());
    expect(response).toStrictEqual(ALLOWED);
    expect(statuses([older, stranger])).toStrictEqual(["terminated", "active"]);
    expect(log).toMatchObject([{ level: "info", message: [{ terminated: [older.connectionId] }] }]);
  });

  test("ends nobody by default, and logs what it would have ended, in a login and in a sweep", async () => {
    const [older, newer] = [ec2.addConnection(), ec2.addConnection({ establishedAt: new Date() })];
    const lambda = await start(byDefault);
    const logs = [await lambda.invoke(connectEvent()), await lambda.sweep(scheduled(byDefault))].map(({ log }) => log);
    expect(statuses([older, newer])).toStrictEqual(["active", "active"]);
    expect(logs).toMatchObject([
      [{ message: [{ dryRun: { terminatedCount: 2 } }] }],
      [
        { message: [{ active: 2, dryRun: { terminated: [older.connectionId] } }] },
        { message: [{ user: "alice", dryRun: { terminated: [older.connectionId] } }] },
      ],
    ]);
  });

  test("sweeps the endpoint that the schedule's input names", async () => {
    const older = ec2.addConnection();
    ec2.addConnection({ establishedAt: new Date() });
    const lambda = await start(enforcing);
    const { response } = await lambda.sweep(scheduled(enforcing));
    expect(response).toMatchObject({ "endpoint-id": ENDPOINT_ID, terminated: [older.connectionId] });
  });

  test("takes all settings when none is the default", async () => {
    const [oldest, older] = ["ALICE", "Alice"].map((commonName, i) =>
      ec2.addConnection({ commonName, username: "", establishedAt: new Date(i * 1_000) }),
    );
    const event = connectEvent({ "common-name": "alice" });
    const response = { ...ALLOWED, "posture-compliance-statuses": ["vpn-session-handler.common-name.alice"] };
    const noting = await start(withAll);
    const exempt = (await noting.invoke(connectEvent({ "common-name": "CORP\\BREAK GLASS" }))).log[0]?.message[0];
    expect(exempt).toMatchObject({ decision: "allow", reason: "exempt user" });
    expect((await noting.invoke(event)).response).toStrictEqual(response);
    expect(ec2.requests).toStrictEqual([]);
    const checking = await start(createStack(template, { ...ALL, CheckLogins: "true" }));
    expect((await checking.invoke(event)).response).toStrictEqual(response);
    expect([oldest?.status, older?.status]).toStrictEqual(["terminated", "active"]);
    ec2.fail("DescribeClientVpnConnections", REFUSED);
    expect((await checking.invoke(event)).response).toStrictEqual(response);
  });

  /** How kiosk fares, who connects beside kiosk and KIOSK, and once more while EC2 refuses to tell. */
  async function storyWith(settings: Record<string, string>) {
    ec2.reset();
    const rows = ["kiosk", "KIOSK"].map((username) => ec2.addConnection({ username }));
    const loaded = await lambda().loadWith(settings);
    const event = connectEvent({ username: "kiosk" });
    const { response } = await loaded.invoke(event);
    ec2.fail("DescribeClientVpnConnections", REFUSED);
    return [response, (await loaded.invoke(event)).response, statuses(rows)];
  }

  test.each(Object.keys(environmentOf(byDefault)))(
    "does without a variable what it does with the default of the stack, but for a dry run: %s",
    async (name) => {
      const stacks = [environmentOf(byDefault), environmentOf(withAll)].map((variables) => String(variables[name]));
      const [byItself = "", other = ""] = name === "DRY_RUN" ? stacks.toReversed() : stacks;
      const without = await storyWith({});
      expect(await storyWith({ [name]: byItself })).toStrictEqual(without);
      const shows = `the story is to show what ${name}=${other} changes`;
      expect(await storyWith({ [name]: other }), shows).not.toStrictEqual(without);
    },
  );

  test("lets everybody in by the lever's entry point, which no sweep's metric filter sees, and enforces by that of the way back", async () => {
    const lambda = await start(enforcing);
    const older = [ec2.addConnection({ establishedAt: new Date(0) }), ec2.addConnection()];
    /** Answers a login and a sweep by the entry point that the command in this output sets. */
    const storyBy = async (output: string) => {
      const [, entryPoint = ""] = / --handler index\.(\w+)$/.exec(String(enforcing.outputs[output])) ?? [];
      const login = await lambda.invoke(connectEvent(), { remaining: 30_000, entryPoint });
      expect(login.response).toStrictEqual(ALLOWED);
      const { log } = await lambda.sweep(scheduled(enforcing), { remaining: 30_000, entryPoint });
      return [login.log, log].map(([entry]) => JSON.stringify({ message: entry?.message[0] }));
    };
    const lines = await storyBy("LetEverybodyIn");
    expect(callsTo(ec2)).toStrictEqual([]);
    lines.push(...(await storyBy("EnforceAgain")));
    expect(statuses(older)).toStrictEqual(["terminated", "terminated"]);
    // So the alarm on stopped sweeps tells of a lever that was forgotten.
    expect(takenBy(String(propertiesOf(withAll, "LoggedSweep").FilterPattern), lines)).toStrictEqual(lines.slice(-1));
  });

  test("denies what a misspelt input of the schedule asks for, in an entry at level error", async () => {
    const lambda = await start(byDefault);
    const { response, log } = await lambda.invoke({ sweeep: ENDPOINT_ID });
    expect(response).toMatchObject({ allow: false });
    expect(log).toMatchObject([
      { level: "error", message: [{ decision: "deny", reason: expect.stringMatching(/schema-version: .*undefined/) }] },
    ]);
  });
});

function scheduled(stack: Stack): { sweep: string } {
  const { Input } = Object(propertiesOf(stack, "Schedule").Target);
  return JSON.parse(Input);
}

describe("the build of the template", () => {
  test("gives back any code and version in ASCII, whatever YAML might read in them", () => {
    const ascii = String.fromCharCode(...Array.from({ length: 127 }, (_, i) => i));
    const code = `${ascii}\n\n  - # : '\n---\n...\n  \nZipFile: THE_CODE Value: THE_VERSION`;
    const file = join(folder, "stack.yaml");
    writeFileSync(file, stackTemplate(source, { version: "1.0", dashboard, code }));
    const stack = createStack(readTemplate(file), ONLY_WHAT_IS_NEEDED);
    expect([codeOf(stack), stack.outputs.Version]).toStrictEqual([code, "1.0"]);
  });

  const parts = { version: "1.0", dashboard, code: "" };

  test.each(["ZipFile: THE_CODE", "DashboardBody: THE_DASHBOARD", "Value: THE_VERSION"])(
    "fails when there is not one place for %s",
    (place) => {
      expect(() => stackTemplate(source.replace(place, ""), parts)).toThrow("0 places, not 1");
      expect(() => stackTemplate(`${source}${place}`, parts)).toThrow("2 places, not 1");
    },
  );

  test("fails on a character that YAML might not take, in the code, the dashboard and the template", () => {
    for (const character of ["\u007f", "\u0085", "\u2028", "\ufeff", "ü", "😀"]) {
      const shown = dashboard.replace('"title": "', `$&${character}`);
      expect(() => stackTemplate(source, { ...parts, code: character })).toThrow("not printable ASCII");
      expect(() => stackTemplate(source, { ...parts, dashboard: shown })).toThrow("not printable ASCII");
      expect(() => stackTemplate(`${source}# ${character}`, parts)).toThrow("not printable ASCII");
    }
  });
});
