import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { HANDLER, STACK } from "../build.mjs";
import { createStack, ONLY_WHAT_IS_NEEDED, propertiesOf, readTemplate } from "./build/cloudformation.ts";
import { ENDPOINT_ID } from "./ec2/server.ts";
import { ALLOWED } from "./helpers/answers.ts";
import { BUILT, builtForTest, callsTo, statuses, useEc2 } from "./helpers/built.ts";
import { runCommandWith } from "./helpers/command.ts";
import { connectEvent } from "./helpers/events.ts";
import { DIST } from "./helpers/lambda.ts";
import { usePreview } from "./helpers/preview.ts";

// What README.md shows and names is what there is.

const ec2 = useEc2();
const preview = usePreview(() => ec2.env);
const readme = readFileSync(new URL("../README.md", import.meta.url), "utf8");
const template = readTemplate(STACK);

/** Returns the fenced blocks of a language. */
function blocksOf(language: string): string[] {
  return [...readme.matchAll(new RegExp(`^ *\`\`\`${language}\\n([\\s\\S]*?)^ *\`\`\``, "gm"))].map(
    ([, text = ""]) => text,
  );
}

test("npm start shows what the README says it shows, whatever settings the environment has", () => {
  const settings = { DRY_RUN: "true", MAX_CONNECTIONS_PER_USER: "none", IDENTITY: "common-name" };
  const { status, stdout, stderr } = runCommandWith(settings, "demo");
  expect([status, stderr]).toStrictEqual([0, ""]);
  expect(blocksOf("text")[0]).toBe(`${stdout.trim()}\n`);
});

test("the preview shows what the README says it shows", async () => {
  ec2.endpoint = { ...ec2.endpoint, connectionLog: "/vpn/connections", disconnectOnSessionTimeout: undefined };
  const names = ["alice", "bob", "carol", "alice", "dave", "erin", "CORP\\bob", "alice", "Erin", "dave", "frank"];
  for (const [i, username] of names.entries()) {
    const connectionId = `cvpn-connection-0${(0x4e7e1b2f + i * 0xa7c3d5e).toString(16)}709c0de${i.toString(16)}`;
    ec2.addConnection({ username, connectionId, establishedAt: new Date(Date.UTC(2026, 8, 1, 8, i)) });
  }
  const { status, stdout, stderr } = await preview([ENDPOINT_ID]);
  expect([status, stderr]).toStrictEqual([0, ""]);
  expect(blocksOf("text")[1]).toBe(stdout);
});

test("the README has each setting of the handler, with its parameter and its default", () => {
  const settings = [...readFileSync(HANDLER, "utf8").matchAll(/^ {2}([A-Z_]+): \{ byDefault: "([^"]*)"/gm)];
  const rows = [...readme.matchAll(/^\| `([A-Z_]+)` \| `(\w+)` \|[^|]*\| `([^`]*)`/gm)];
  expect(rows.map(([, name, , byDefault]) => [name, byDefault])).toStrictEqual(
    settings.map(([, name, byDefault]) => [name, byDefault]),
  );
  const { Variables } = Object(template.Resources.Handler?.Properties.Environment);
  expect(Object.fromEntries(rows.map(([, name, Ref]) => [name, { Ref }]))).toStrictEqual(Variables);
});

test("the policy to paste allows what the stack's role allows on the endpoint", () => {
  const policy = blocksOf("json").find((block) => block.includes("Statement")) ?? "";
  const stack = createStack(template, ONLY_WHAT_IS_NEEDED);
  const [{ PolicyDocument }] = Object(propertiesOf(stack, "HandlerRole").Policies);
  expect(JSON.parse(policy).Statement).toStrictEqual([
    { ...PolicyDocument.Statement[0], Resource: "arn:aws:ec2:REGION:ACCOUNT:client-vpn-endpoint/ENDPOINT_ID" },
  ]);
});

test.each(["username", "common-name"])(
  "the test event is a request like Client VPN's, asks EC2, ends nobody and leaves no errors in the log: %s",
  async (IDENTITY) => {
    const older = ec2.addConnection({ commonName: "alice" });
    const block = blocksOf("json").find((text) => text.includes("schema-version")) ?? "";
    const event = JSON.parse(block.replace("ENDPOINT_ID", ENDPOINT_ID));
    expect(Object.keys(event)).toStrictEqual(Object.keys(connectEvent()));
    const lambda = await builtForTest({ ...ec2.env, IDENTITY, DRY_RUN: "true" });
    const { response, log } = await lambda.invoke(event);
    expect(response).toStrictEqual(ALLOWED);
    expect(callsTo(ec2)).toStrictEqual(["Describe"]);
    const [, reason = ""] = /The log entry has to have\s`"reason": "([^"]*)"`/.exec(readme) ?? [];
    expect(JSON.parse(String(log[0]?.message[0]))).toMatchObject({ reason, errors: [] });
    expect(older.status).toBe("active");
  },
);

test("the log entries have the fields that the README names", async () => {
  const named = (paragraph: string) => {
    const start = readme.indexOf(paragraph);
    const text = readme.slice(start, readme.indexOf(".", start));
    return [...text.matchAll(/`(\w+)`/g)].map(([, field = ""]) => field);
  };
  ec2.addConnection();
  const lambda = await builtForTest(ec2.env);
  const entryOf = ({ log }: { log: { message: unknown[] }[] }) => JSON.parse(String(log[0]?.message[0]));
  const login = Object.keys(entryOf(await lambda.invoke(connectEvent())));
  const sweep = Object.keys(entryOf(await lambda.sweep({ sweep: ENDPOINT_ID })));
  const inErrors = ["code", "message", "connectionId"];
  expect(named("A login's log entry has").toSorted()).toStrictEqual(
    [...login.filter((field) => !/^(notT|e)\w+Count$/.test(field)), ...inErrors].toSorted(),
  );
  expect(sweep).toStrictEqual(expect.arrayContaining(named("A sweep's has")));
});

test.each(BUILT)("the check of one's own denies first, and has dist/%s do the rest, sweeps too", async (file) => {
  // Beside it, as the file to paste needs the SDK that is installed there.
  const folder = mkdtempSync(`${DIST}own-check-`);
  onTestFinished(() => rmSync(folder, { recursive: true }));
  cpSync(`${DIST}${file}`, join(folder, file));
  const [code = ""] = blocksOf("js");
  expect(code).toContain('"./index.cjs"');
  const index = join(folder, "index.mjs");
  writeFileSync(index, code.replace("./index.cjs", `./${file}`));
  const lambda = await builtForTest(ec2.env, index);

  const older = [ec2.addConnection({ establishedAt: new Date(1_700_000_000_000) }), ec2.addConnection()];
  const { response } = await lambda.invoke(connectEvent({ "aws-client-version": "4.9.1" }));
  expect(response).toStrictEqual({
    allow: false,
    "error-msg-on-denied-connection": expect.stringContaining("update"),
    "posture-compliance-statuses": ["client too old"],
    "schema-version": "v3",
  });
  expect(callsTo(ec2)).toStrictEqual([]);
  expect((await lambda.sweep({ sweep: ENDPOINT_ID })).response.terminated).toStrictEqual([older[0]?.connectionId]);
  for (const version of ["5.2.0", "", undefined]) {
    const allowed = await lambda.invoke(connectEvent({ "aws-client-version": version }));
    expect(allowed.response).toStrictEqual(ALLOWED);
  }
  expect(statuses(older)).toStrictEqual(["terminated", "terminated"]);
  expect((await lambda.invoke(null)).response.allow).toBe(false);
});

test("every link within the README leads to a heading", () => {
  const headings = [...readme.matchAll(/^#+ (.+)$/gm)].map(([, text = ""]) => text);
  const anchors = headings.map((text) =>
    text
      .toLowerCase()
      .replace(/[^\w -]/g, "")
      .replaceAll(" ", "-"),
  );
  const links = [...readme.matchAll(/\]\(#([^)]*)\)/g)].map(([, anchor]) => anchor);
  expect(links.length).toBeGreaterThan(5);
  expect(anchors).toStrictEqual(expect.arrayContaining(links));
});

test("the parameters, outputs and scripts that the README names are there", () => {
  const named = [...readme.matchAll(/(?<!--client-connect-options )\b([A-Z][A-Za-z]+)=\w/g)].map(
    ([, name = ""]) => name,
  );
  expect(named).toContain("DryRun");
  expect(Object.keys(template.Parameters)).toStrictEqual(
    expect.arrayContaining(named.filter((name) => /[a-z]/.test(name))),
  );
  for (const output of ["TurnOn", "TurnOff", "LetEverybodyIn", "WatchLog", "Version"]) {
    expect(readme).toContain(`\`${output}\``);
    expect(template.Outputs).toHaveProperty(output);
  }
  const count = (type: string) => Object.values(template.Resources).filter(({ Type }) => Type === type).length;
  expect(readme).toMatch(/with a topic\seleven alarms and three metrics/);
  expect([count("AWS::CloudWatch::Alarm"), count("AWS::Logs::MetricFilter")]).toStrictEqual([11, 3]);
  const { scripts } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"));
  const run = [...readme.matchAll(/npm run (?:--silent )?(\w+)/g)].map(([, script]) => script);
  expect(Object.keys(scripts)).toStrictEqual(expect.arrayContaining(run));
});
