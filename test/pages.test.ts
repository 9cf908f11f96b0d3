import { existsSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { HANDLER, STACK } from "../build.mjs";
import { readTemplate } from "./build/cloudformation.ts";
import { ENDPOINT_ID } from "./ec2/server.ts";
import { ALLOWED } from "./helpers/answers.ts";
import { callsTo, useEc2, useSettings } from "./helpers/built.ts";
import { runCommandWith } from "./helpers/command.ts";
import { connectEvent } from "./helpers/events.ts";
import { usePreview } from "./helpers/preview.ts";
import { expectEachSetting } from "./helpers/settings.ts";

// What the four pages show and name is what there is.

const ec2 = useEc2();
const { lambdaWith } = useSettings(ec2);
const preview = usePreview(() => ec2.env);
const ROOT = fileURLToPath(new URL("..", import.meta.url));
const PAGES = ["README.md", "src/RUNBOOK.md", "src/README.md", "test/README.md"];
const pages = PAGES.map((name) => readFileSync(join(ROOT, name), "utf8"));
const [readme = "", runbook = "", reference = "", workshop = ""] = pages;
const template = readTemplate(STACK);
const resourcesOf = (type: string) => Object.entries(template.Resources).filter(([, { Type }]) => Type === type);
const savedQueries = resourcesOf("AWS::Logs::QueryDefinition").map(([, { Properties }]) =>
  JSON.stringify(Properties.Name).replace(/^.*\/|( \(.*)?"?[}\]]*$/g, ""),
);

/** Returns a page's fenced blocks of a language. */
function blocksOf(page: string, language: string): string[] {
  return [...page.matchAll(new RegExp(`^ *\`\`\`${language}\\n([\\s\\S]*?)^ *\`\`\``, "gm"))].map(
    ([, text = ""]) => text,
  );
}

/** Returns what stands under a heading, with what stands under its own. */
function sectionOf(page: string, heading: string): string {
  const [, rest = ""] = page.split(`\n## ${heading}\n`);
  return rest.split("\n## ")[0] ?? "";
}

const headingsOf = (page: string) =>
  [...page.replace(/^```[\s\S]*?^```/gm, "").matchAll(/^#+ (.+)$/gm)].map(([, text = ""]) => text);

test.each([
  ["README.md", 2_700, 330],
  ["src/RUNBOOK.md", 4_000, 390],
  ["src/README.md", 5_100, 480],
  ["test/README.md", 2_300, 230],
])("%s has at most %i words and %i lines", (name, words, lines) => {
  const page = pages[PAGES.indexOf(name)] ?? "";
  expect(page.trim().split(/\s+/).length).toBeLessThanOrEqual(words);
  expect(page.split("\n").length).toBeLessThanOrEqual(lines);
});

test("npm start shows what the workshop says it shows, whatever settings the environment has", () => {
  const settings = { DRY_RUN: "true", MAX_CONNECTIONS_PER_USER: "none", IDENTITY: "common-name" };
  const { status, stdout, stderr } = runCommandWith(settings, "demo");
  expect([status, stderr]).toStrictEqual([0, ""]);
  expect(blocksOf(workshop, "text")[0]).toBe(`${stdout.trim()}\n`);
});

test("the preview shows what the README says it shows", async () => {
  ec2.endpoint = { ...ec2.endpoint, connectionLog: "/vpn/connections" };
  const names = ["alice", "bob", "carol", "alice", "dave", "erin", "CORP\\bob", "alice", "Erin", "dave", "frank"];
  for (const [i, username] of names.entries()) {
    const connectionId = `cvpn-connection-0${(0x4e7e1b2f + i * 0xa7c3d5e).toString(16)}709c0de${i.toString(16)}`;
    ec2.addConnection({ username, connectionId, establishedAt: new Date(Date.UTC(2026, 8, 1, 8, i)) });
  }
  const { status, stdout, stderr } = await preview([ENDPOINT_ID]);
  expect([status, stderr]).toStrictEqual([0, ""]);
  expect(blocksOf(readme, "text")[0]).toBe(stdout);
});

test("the reference has each setting of the handler and each parameter of the stack, with its default", () => {
  const rows = [...reference.matchAll(/^\| `([A-Z_]+)` \| `(\w+)` \|[^|]*\| ([^|]*) \|/gm)];
  expectEachSetting(
    rows.map(([, name = ""]) => name),
    "the table of settings in src/README.md",
  );
  for (const [, name = "", parameter = "", byDefault] of rows) {
    const inStack = `\`${template.Parameters[parameter]?.Default}\``;
    expect(byDefault, name).toBe(name === "DRY_RUN" ? `\`false\`, in the stack ${inStack}` : inStack);
  }
  const others = [...reference.matchAll(/^\| `([A-Z][a-z]\w+)` \|[^|]*\| `(.*?)` \|/gm)];
  for (const [, name = "", byDefault] of others)
    expect(byDefault, name).toBe(String(template.Parameters[name]?.Default));
  const parameters = [...rows.map(([, , name]) => name), ...others.map(([, name]) => name), "EndpointId"];
  expect(parameters.toSorted()).toStrictEqual(Object.keys(template.Parameters).toSorted());
  const { Variables } = Object(template.Resources.Handler?.Properties.Environment);
  expect(Object.fromEntries(rows.map(([, name, Ref]) => [name, { Ref }]))).toStrictEqual(Variables);
});

test("the policy to paste allows what the stack's role allows on the endpoint", () => {
  const policy = blocksOf(reference, "json").find((block) => block.includes("TerminateClientVpn")) ?? "";
  const [{ PolicyDocument }] = Object(template.Resources.HandlerRole?.Properties.Policies);
  expect(JSON.parse(policy).Statement).toStrictEqual([
    { ...PolicyDocument.Statement[0], Resource: "arn:aws:ec2:REGION:ACCOUNT:client-vpn-endpoint/ENDPOINT_ID" },
  ]);
});

test("the rights in the reference allow each command of the README and of the stack's outputs", () => {
  const policy = blocksOf(reference, "json").find((block) => block.includes("CreateRole")) ?? "";
  const actions = JSON.parse(policy).Statement.flatMap(({ Action }: { Action: string | string[] }) => Action);
  const isAllowed = (action: string) =>
    actions.some((one: string) => one === action || (one.endsWith(":*") && action.startsWith(one.slice(0, -1))));
  const commands = blocksOf(readme, "sh").join("\n") + JSON.stringify(template.Outputs);
  const called = [...commands.matchAll(/\baws (cloudformation|cloudwatch|ec2|lambda|sns) ([a-z-]+)/g)];
  expect(called.length).toBeGreaterThan(10);
  for (const [, service, command = ""] of called) {
    const name = command.replace(/(?:^|-)([a-z])/g, (_, letter) => letter.toUpperCase());
    expect(isAllowed(`${service}:${name}`), `${service}:${name}`).toBe(true);
  }
});

test("the example of a kept name is what a login with that name gets", async () => {
  const [, username = "", status] = /^\| `(.*)` \| `(vpn-session-handler\.username\..+)` \|$/m.exec(reference) ?? [];
  const lambda = await lambdaWith({ KEEP_NAMES: "true" });
  const { response } = await lambda.invoke(connectEvent({ username }));
  expect(Object(response)["posture-compliance-statuses"]).toStrictEqual([status]);
});

test.each(["username", "common-name"])(
  "the test event is a request like Client VPN's, asks EC2, ends nobody and leaves no errors in the log: %s",
  async (IDENTITY) => {
    const older = ec2.addConnection({ commonName: "alice" });
    const block = blocksOf(readme, "json").find((text) => text.includes("schema-version")) ?? "";
    const event = JSON.parse(block.replace("ENDPOINT_ID", ENDPOINT_ID));
    expect(Object.keys(event)).toStrictEqual(Object.keys(connectEvent()));
    const lambda = await lambdaWith({ IDENTITY, DRY_RUN: "true" });
    const { response, log } = await lambda.invoke(event);
    expect(response).toStrictEqual(ALLOWED);
    expect(callsTo(ec2)).toStrictEqual(["Describe"]);
    const [, reason = ""] = /The\s+log\s+entry\s+has to have\s+`"reason": "([^"]*)"`/.exec(readme) ?? [];
    expect(JSON.parse(String(log[0]?.message[0]))).toMatchObject({ reason, errors: [] });
    expect(older.status).toBe("active");
  },
);

test("the log entries have the fields that the reference names", async () => {
  const named = (paragraph: string) => {
    const start = reference.indexOf(paragraph);
    expect(start, paragraph).toBeGreaterThan(0);
    const text = reference.slice(start, reference.indexOf(". ", start));
    return [...text.matchAll(/`(\w+)`/g)].map(([, field = ""]) => field);
  };
  ec2.addConnection();
  const lambda = await lambdaWith({});
  const entriesOf = ({ log }: { log: { message: unknown[] }[] }) =>
    log.map(({ message }) => JSON.parse(String(message[0])));
  const login = Object.keys(entriesOf(await lambda.invoke(connectEvent()))[0]);
  const keeping = await lambdaWith({ KEEP_NAMES: "true", DRY_RUN: "true" });
  const inDryRun = Object.keys(entriesOf(await keeping.invoke(connectEvent()))[0]);
  for (const establishedAt of [new Date(1_700_000_000_000), new Date()]) ec2.addConnection({ establishedAt });
  const [sweep, user] = entriesOf(await lambda.sweep({ sweep: ENDPOINT_ID })).map(Object.keys);
  const inErrors = ["code", "message", "connectionId"];
  expect(named("Each login has one entry").toSorted()).toStrictEqual(
    [...login.filter((field) => !/^(notT|e)\w+Count$/.test(field)), ...inErrors].toSorted(),
  );
  expect(sweep).toStrictEqual(expect.arrayContaining(named("A sweep's entry has")));
  expect(user).toStrictEqual(expect.arrayContaining(named("has an entry too")));
  expect(inDryRun).toStrictEqual(
    expect.arrayContaining([...named("With `KEEP_NAMES`, a login whose look-up").slice(1), "dryRun"]),
  );
  const filtered = [...runbook.matchAll(/\$\.message\.(\w+)/g)].map(([, field]) => field);
  expect(filtered.length).toBeGreaterThan(3);
  expect(login).toStrictEqual(expect.arrayContaining(filtered));
});

test("the reference has each reason that the handler gives, and no other", () => {
  const source = readFileSync(HANDLER, "utf8");
  const given = [...source.matchAll(/(?:allowed|denied|failed)\((?:[^"()]*\? )?"([^"]+)"(?: : "([^"]+)")?/g)];
  const reasons = given.flatMap(([, one = "", other]) => (other === undefined ? [one] : [one, other]));
  expect(reasons.length).toBeGreaterThan(5);
  for (const reason of [...reasons, "an unexpected error", "no username to compare"]) {
    expect(reference).toContain(`| \`${reason}\` |`);
  }
  const [, letIn] = /const reason = "(let in [^"]+)"/.exec(source) ?? [];
  expect(reference).toContain(`\`${letIn}\``);
  expect(runbook).toContain(`\`${letIn}\``);
});

test("the runbook has each error code of the handler's own, and the reasons that need a person", () => {
  const source = readFileSync(HANDLER, "utf8");
  const codes = [...source.matchAll(/(?:errorNamed|cannotCheck)\("(\w+)"/g)].map(([, code]) => code);
  expect(codes.length).toBeGreaterThan(4);
  for (const code of codes.filter((one) => one !== "IncompleteSweep"))
    expect(runbook).toMatch(new RegExp(`^\\| .*\`${code}\``, "m"));
  for (const reason of ["too many new connections", "wrong setting: ", "invalid request: "]) {
    expect(source).toContain(reason);
    expect(runbook).toMatch(new RegExp(`^\\| \`${reason}`, "m"));
  }
  const inRule = JSON.stringify(template.Resources.TakeoverRule?.Properties.RuleBody);
  const inFilters = [...runbook.matchAll(/\$\.message\.reason = "([^"]+)"/g)].map(([, reason]) => reason);
  expect(inFilters.length).toBeGreaterThan(0);
  for (const reason of inFilters) expect(inRule).toContain(reason);
});

test("the runbook has a line for each alarm of the stack, and each heading that an alarm's text names", () => {
  const alarms = resourcesOf("AWS::CloudWatch::Alarm");
  const rows = [...sectionOf(runbook, "An alarm came").matchAll(/^\| `(\w+)` \|/gm)].map(([, name]) => name);
  expect(rows.toSorted()).toStrictEqual(alarms.map(([name]) => name).toSorted());
  expect(readme).toContain(`${["ten", "eleven", "twelve"][alarms.length - 10]} alarms`);
  for (const [name, { Properties }] of alarms) {
    const text = JSON.stringify(Properties.AlarmDescription).replaceAll('\\"', '"');
    const named = [...text.matchAll(/((?:"[^"]+"(?: or )?)+) in src\/RUNBOOK\.md/g)].flatMap(([, headings = ""]) =>
      [...headings.matchAll(/"([^"]+)"/g)].map(([, heading]) => heading),
    );
    expect(named.length, name).toBeGreaterThan(0);
    expect(headingsOf(runbook), name).toStrictEqual(expect.arrayContaining(named));
  }
});

test("both pages print the lever whole", () => {
  const lever = sectionOf(readme, "Everybody is locked out");
  expect(lever).toContain("--handler index.letIn");
  expect(sectionOf(runbook, "Everybody is locked out").startsWith(lever.trimEnd())).toBe(true);
});

test("the saved queries are named as they are in the stack, and each is named", () => {
  const named = [
    ...`${runbook}${reference}`
      .replace(/^ *```[\s\S]*?^ *```|`[^`\n]*`/gm, "")
      .matchAll(/(?<!\*)\*([^*\n]+(?:\n[^*\n]+)?)\*(?!\*)/g),
  ]
    .map(([, name = ""]) => name.replace("\n", " "))
    .filter((name) => name.split(" ").length > 2);
  expect([...new Set(named)].toSorted()).toStrictEqual(savedQueries.toSorted());
});

test("every link of the pages leads to a file or to a heading", () => {
  const anchorsOf = (page: string) =>
    headingsOf(page).map((text) =>
      text
        .toLowerCase()
        .replace(/[^\w -]/g, "")
        .replaceAll(" ", "-"),
    );
  const release = readFileSync(join(ROOT, ".github/workflows/release.yml"), "utf8");
  for (const [i, page] of pages.entries()) {
    const links = [...page.matchAll(/\]\(([^)\s]+)\)/g)].map(([, link = ""]) => link);
    expect(links.length).toBeGreaterThan(1);
    for (const link of links) {
      if (link.startsWith("https://github.com/aws-samples/")) continue;
      const [path = "", anchor] = link.split("#");
      const target = path === "" ? String(PAGES[i]) : normalize(join(dirname(String(PAGES[i])), path));
      // Of the repository's page, which is two levels above its files there.
      if (target === "../../releases" || target === "../../issues/new/choose") continue;
      if (target.includes("releases")) {
        expect(target).toMatch(/^\.\.\/\.\.\/releases\/latest\/download\/[\w.]+$/);
        expect(release).toMatch(new RegExp(` ${path.split("/").at(-1)}\\b`));
        continue;
      }
      expect(existsSync(join(ROOT, target)), link).toBe(true);
      if (anchor) expect(anchorsOf(readFileSync(join(ROOT, target), "utf8")), link).toContain(anchor);
    }
  }
});

test("the parameters, outputs, scripts and queries that the pages name are there", () => {
  const all = pages.join("\n");
  const ofTheCli = /^(Enabled|ParameterKey|ParameterValue|UsePreviousValue|AttributeKey)$/;
  const named = [...all.matchAll(/\b([A-Z][A-Za-z]+)=\w/g)]
    .map(([, name = ""]) => name)
    .filter((name) => !ofTheCli.test(name));
  expect(named).toContain("DryRun");
  expect(Object.keys(template.Parameters)).toStrictEqual(
    expect.arrayContaining(named.filter((name) => /[a-z]/.test(name))),
  );
  for (const name of Object.keys(template.Parameters)) expect(all).toContain(name);
  for (const output of ["TurnOn", "TurnOff", "LetEverybodyIn", "HandlerArn", "TestAlarm", "WatchLog", "Version"]) {
    expect(all).toContain(`\`${output}\``);
    expect(template.Outputs).toHaveProperty(output);
  }
  const { scripts } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));
  const run = [...all.matchAll(/npm run (?:--silent )?(\w+)/g)].map(([, script]) => script);
  expect(Object.keys(scripts)).toStrictEqual(expect.arrayContaining(run));
});

test("the sum of the costs has each alarm, metric and rule of the stack at AWS's price, and adds up", () => {
  const count = (type: string) => resourcesOf(type).length;
  const rows = [
    ...reference.matchAll(/^\| (.+) \| (?:\*\*)?(\d+\.\d\d)(?:\*\*)? \| (?:\*\*)?(\d+\.\d\d)(?:\*\*)? \|$/gm),
  ];
  const costs = new Map(rows.map(([, what = "", small, large]) => [what, [Number(small), Number(large)]]));
  const both = (dollars: number) => [dollars, dollars].map((one) => Number(one.toFixed(2)));
  const alarms = count("AWS::CloudWatch::Alarm");
  const metrics = count("AWS::Logs::MetricFilter");
  expect(costs.get(`${alarms} alarms`)).toStrictEqual(both(alarms * 0.1));
  expect(costs.get(`${metrics} metrics of the log`)).toStrictEqual(both(metrics * 0.3));
  expect(costs.get("rule on takeovers")).toStrictEqual(both(count("AWS::CloudWatch::InsightRule") * 0.5));
  const sums = ["**in all**", "without a topic and a dashboard"];
  const parts = [...costs].filter(([what]) => !sums.includes(what));
  const isOptional = (what: string) => /alarm|metric|rule|dashboard/.test(what);
  for (const column of [0, 1]) {
    const sum = (rows: typeof parts) => rows.reduce((total, [, cost]) => total + (cost[column] ?? 0), 0);
    expect(costs.get("**in all**")?.[column]).toBeCloseTo(sum(parts));
    expect(costs.get(String(sums[1]))?.[column]).toBeCloseTo(sum(parts.filter(([what]) => !isOptional(what))));
  }
  const [all, few] = sums.map((what) => costs.get(what)?.[0]);
  expect(readme).toContain(`costs ${all} USD a month for 300 users, or ${few} without`);
});
