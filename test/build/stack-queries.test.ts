import { beforeAll, describe, expect, test } from "vitest";
import { ENDPOINT_ID } from "../ec2/server.ts";
import { useBuilt, useEc2 } from "../helpers/built.ts";
import { connectEvent } from "../helpers/events.ts";
import { DIST } from "../helpers/lambda.ts";
import {
  ALL,
  createStack,
  ONLY_WHAT_IS_NEEDED,
  propertiesByType,
  propertiesOf,
  readTemplate,
} from "./cloudformation.ts";
import { type ConnectionKind, connectionLog } from "./connection-log.ts";
import { contributorsOf, readRule, valueAt } from "./insight-rule.ts";
import { KINDS, type Kind, LOGINS, type LogEntry, LogGroup, recordStory, SWEEPS, SWEPT_USERS } from "./log-story.ts";
import { type Row, runQuery } from "./logs-insights.ts";
import { takenBy } from "./metric-filter.ts";

// What dist/stack.yaml looks for in the log is what the handler writes there, and it shows what its title says.

// In another Region than the tests' own, so that none is written out.
const template = readTemplate(`${DIST}stack.yaml`);
const GIVEN = { ...ALL, Identity: "username", TakeoversPerHour: "6", Dashboard: "true", "AWS::Region": "us-west-2" };
const stack = createStack(template, GIVEN);
const savedQueries = Object.values(propertiesByType(stack, /QueryDefinition/));
const { DashboardName, DashboardBody } = propertiesOf(stack, "DashboardPage");
const { widgets }: { widgets: Widget[] } = JSON.parse(String(DashboardBody));
type Widget = Record<"x" | "y" | "width" | "height", number> & {
  type: string;
  properties: { region?: string; title?: string; markdown?: string; view?: string; query?: string; metrics?: Metric[] };
};
type Metric = [namespace: string, name: string, dimension: string, value: string, options: object] | [math: object];
const widgetsOf = (type: string) => widgets.filter((one) => one.type === type).map(({ properties }) => properties);

/** Each query of the template on a log group, by its name in the folder or the title of its widget. */
function queriesOn(logGroup: string, { saved = savedQueries } = {}): Record<string, string> {
  const ofGroup = saved.filter(({ LogGroupNames }) => String(LogGroupNames) === logGroup);
  const shown = widgetsOf("log").filter(({ query }) => query?.startsWith(`SOURCE '${logGroup}' `));
  return Object.fromEntries([
    ...ofGroup.map(({ Name, QueryString }) => [String(Name).replace("client-vpn/", ""), String(QueryString)]),
    ...shown.map(({ title, query }) => [title, String(query)]),
  ]);
}
const { "What happened to one user": oneUser = "", ...queries } = queriesOn("<HandlerLog>");
const PUSHED_OUT = "Users whose connections push each other out (two addresses may be one person who moved)";

const ec2 = useEc2();
const { lambda } = useBuilt(ec2, "index.cjs", { AWS_LAMBDA_LOG_FORMAT: "JSON" });
let story: LogEntry[] = [];
beforeAll(async () => {
  story = await recordStory(ec2, lambda());
});

const linesOf = (entries: LogEntry[]) => entries.map(({ line }) => line);
const rowsOf = (entries: LogEntry[]) => entries.map(({ row }) => row);
const ofKinds = (kinds: readonly Kind[]) => story.filter(({ kind }) => kinds.includes(kind));

test("the story has entries of every kind", () => {
  expect(KINDS.filter((kind) => ofKinds([kind]).length === 0)).toStrictEqual([]);
});

/** Which entries a query takes, and what it shows of them: the lines, or the newest first if it lists them one by one. */
interface Expected {
  takes: readonly Kind[];
  shows: Row[] | "newest first";
}
const REASON = "message.reason";
const CODE = "message.errors.0.code";
const NOT_LOOKED_UP = "older connections could not be looked up";
const NOT_TERMINATED = "older connections could not be terminated";
const denials = (count: string): Row[] => [
  { [REASON]: NOT_LOOKED_UP, [CODE]: "UnauthorizedOperation", [count]: 2 },
  { [REASON]: NOT_TERMINATED, [CODE]: "failed-to-terminate", [count]: 1 },
  { [REASON]: "too many new connections", [CODE]: undefined, [count]: 1 },
  { [REASON]: NOT_LOOKED_UP, [CODE]: "InvalidClientVpnEndpointId.NotFound", [count]: 1 },
  { [REASON]: expect.stringMatching(/^wrong setting: IDENTITY/), [CODE]: undefined, [count]: 1 },
  { [REASON]: expect.stringMatching(/^invalid request: schema-version/), [CODE]: undefined, [count]: 1 },
];
const EXPECTED: Record<string, Expected> = {
  "Denials by reason": { takes: ["denial"], shows: denials("denials") },
  "Denials and failed checks one by one": {
    takes: [
      "login that was let in unchecked",
      "login that was let in although one could not be ended",
      "denial",
      "dry run: login that would be denied",
      "dry run: unchecked login that would be denied",
      "dry run: unchecked login that would be let in",
    ],
    shows: "newest first",
  },
  [PUSHED_OUT]: {
    takes: ["login that took over", "dry run: login that would take over", "user whom a sweep ended"],
    shows: [
      { "message.user": "alice", times: 6, addresses: 2, firstAddress: "203.0.113.7", lastAddress: "198.51.100.9" },
    ],
  },
  "Whom a dry run would have ended or denied": {
    takes: [
      "dry run: login that would take over",
      "dry run: login that would be denied",
      "dry run: unchecked login that would be denied",
    ],
    shows: "newest first",
  },
  "Whose sessions a sweep ended, or would have": {
    takes: SWEPT_USERS,
    shows: [
      { "message.user": "alice", sweeps: 4, ended: 3, wouldHaveEnded: 2 },
      { "message.user": "bob", sweeps: 1, ended: 1 },
    ],
  },
  "Logins that were allowed, let in although the check failed, and denied": {
    takes: LOGINS,
    shows: [{ allowed: 15, letInUnchecked: 4, denied: 7 }],
  },
  "Logins by answer and reason, denials first": {
    takes: LOGINS,
    shows: [
      ...denials("logins").map((row) => ({ ...row, "message.decision": "deny" })),
      { [REASON]: "older connections terminated", logins: 2 },
      { [REASON]: "dry run: older connections terminated", logins: 2 },
      { [REASON]: `dry run: ${NOT_LOOKED_UP}`, logins: 2 },
      { [REASON]: "no older connections", logins: 1 },
      { [REASON]: "exempt user", logins: 1 },
      { [REASON]: "no username to compare", logins: 1 },
      { [REASON]: NOT_LOOKED_UP, [CODE]: "UnauthorizedOperation", logins: 1 },
      { [REASON]: NOT_TERMINATED, [CODE]: "failed-to-terminate", logins: 1 },
      { [REASON]: "dry run: no older connections", logins: 1 },
      { [REASON]: "dry run: too many new connections", logins: 1 },
      { [REASON]: "noted, and left to the sweep", logins: 1 },
      { [REASON]: "no older connections among those with a name", logins: 1 },
    ],
  },
  "Sessions that logins ended, or in a dry run would have": {
    takes: LOGINS,
    shows: [{ ended: 4, wouldHaveEnded: 4 }],
  },
  "Sessions that sweeps ended, or in a dry run would have": {
    takes: SWEEPS,
    shows: [{ ended: 4, wouldHaveEnded: 2 }],
  },
  "Active connections, and those without a name": {
    takes: SWEEPS,
    shows: [{ active: 6, withoutName: 2 }],
  },
  "Whose sessions are taken most, or in a dry run would be, and from which address (a sweep knows none)": {
    takes: [
      "login that took over",
      "login that was let in although one could not be ended",
      "dry run: login that would take over",
      ...SWEPT_USERS,
    ],
    shows: [
      { "message.user": "alice", "message.publicIp": "203.0.113.7", ended: 3, atLeastWouldHaveEnded: 1 },
      { "message.user": "alice", "message.publicIp": undefined, ended: 3, atLeastWouldHaveEnded: 1 },
      { "message.user": "alice", "message.publicIp": "198.51.100.9", ended: 1, atLeastWouldHaveEnded: 1 },
      { "message.user": "bob", "message.publicIp": undefined, ended: 1, atLeastWouldHaveEnded: 0 },
    ],
  },
  "How long a login waits for the answer, in ms: half of them, and 95 of 100, at most": {
    takes: LOGINS,
    shows: [{ p50: 310, p95: 890 }],
  },
};

test.each(Object.entries(queries))("takes the entries that it should, and shows what they say: %s", (name, query) => {
  const { takes, shows } = EXPECTED[name] ?? expect.fail("say in EXPECTED what this query takes and shows");
  const { taken, shown } = runQuery(String(query), rowsOf(story));
  const kinds = story.filter(({ row }) => taken.includes(row)).map(({ kind }) => kind);
  expect(kinds).toStrictEqual(ofKinds(takes).map(({ kind }) => kind));
  if (shows !== "newest first") return expect(shown).toMatchObject(shows);
  const times = rowsOf(ofKinds(takes)).map((row) => row["@timestamp"]);
  expect(shown.map((row) => row["@timestamp"])).toStrictEqual(times.toReversed());
});

describe("the query on one user", () => {
  const about = (name: string) => runQuery(oneUser.replaceAll("/(?i)./", `/(?i)${name}/`), rowsOf(story));
  const ofUsers = (name: RegExp) => rowsOf(story).filter((row) => name.test(String(row["message.user"] ?? "")));

  test("has one place for the name", () => {
    expect(oneUser.split("/(?i)./")).toHaveLength(2);
  });

  test.each(["alice", "LIC"])("lists all that happened to whose name has this, in any case: %s", (name) => {
    const { taken, shown } = about(name);
    expect(taken).toStrictEqual(ofUsers(/alice/));
    expect(shown).toHaveLength(taken.length);
    const times = taken.map((row) => row["@timestamp"]);
    expect(shown.map((row) => row["@timestamp"])).toStrictEqual(times.toReversed());
    const kinds = new Set(story.filter(({ row }) => taken.includes(row)).map(({ kind }) => kind));
    expect([...kinds].sort()).toStrictEqual([...LOGINS, ...SWEPT_USERS].sort());
  });

  test("shows the address of a login that the sweep is left with, and what the sweep ended", () => {
    const { shown } = about("alice");
    expect(shown).toContainEqual(
      expect.objectContaining({
        [REASON]: "noted, and left to the sweep",
        "message.decision": "allow",
        "message.publicIp": "198.51.100.9",
      }),
    );
    expect(shown).toContainEqual(
      expect.objectContaining({
        [REASON]: "older connections terminated by a sweep",
        "message.terminatedCount": 2,
        "message.terminated.0": expect.stringMatching(/^cvpn-connection-/),
      }),
    );
  });

  test("shows everybody while no name is written, and not an empty list", () => {
    expect(runQuery(oneUser, rowsOf(story)).taken).toStrictEqual(ofUsers(/./));
    expect(ofUsers(/./).length).toBeGreaterThan(ofUsers(/alice/).length);
  });
});

describe("the queries on Client VPN's own log", () => {
  const HOME = "203.0.113.7";
  const AWAY = "198.51.100.9";
  const ELSEWHERE = "192.0.2.1";
  const NOT_HERE = "cvpn-endpoint-0a0a0a0a0a0a0a0a0";
  const log = connectionLog([
    { user: "alice", from: HOME, at: "2026-01-01 08:00:00" },
    { user: "alice", from: HOME, at: "2026-01-01 12:00:00" },
    // While she is away.
    { user: "alice", from: AWAY, at: "2026-01-01 20:00:00" },
    { user: "alice", from: HOME, at: "2026-01-02 08:00:00" },
    { user: "bob", from: HOME, at: "2026-01-01 08:00:00" },
    { user: "bob", from: AWAY, at: "2026-01-02 08:00:00" },
    // Each device has a certificate of its own.
    { user: "carol", commonName: "laptop", from: HOME, at: "2026-01-01 09:00:00" },
    { user: "carol", commonName: "phone", from: AWAY, at: "2026-01-01 10:00:00" },
    { user: "carol", commonName: "phone", from: ELSEWHERE, at: "2026-01-01 11:00:00" },
    { user: "dave", from: HOME, at: "2026-01-01 08:00:00", failure: "client-connect-failed" },
    { user: "dave", from: HOME, at: "2026-01-01 08:01:00", failure: "client-connect-failed" },
    { user: "dave", from: AWAY, at: "2026-01-01 08:02:00", failure: "client-connect-handler-timed-out" },
    { user: "erin", from: HOME, at: "2026-01-01 08:00:00", endpoint: NOT_HERE },
    { user: "erin", from: AWAY, at: "2026-01-01 09:00:00", endpoint: NOT_HERE },
    { user: "erin", from: AWAY, at: "2026-01-01 10:00:00", endpoint: NOT_HERE, failure: "client-connect-failed" },
  ]);
  const onVpn = queriesOn(ALL.ConnectionLogGroup);
  const rows = log.map(({ row }) => row);

  const reason = "connection-attempt-failure-reason";
  const connections = [
    { username: "alice", "device-ip": HOME, connections: 3, lastBegan: "2026-01-02 08:00:00" },
    { username: "bob", "device-ip": HOME, connections: 1, lastBegan: "2026-01-01 08:00:00" },
    { username: "carol", "common-name": "laptop", "device-ip": HOME, connections: 1 },
    { username: "carol", "common-name": "phone", "device-ip": AWAY, connections: 1 },
    { username: "carol", "common-name": "phone", "device-ip": ELSEWHERE, connections: 1 },
    { username: "alice", "device-ip": AWAY, connections: 1, lastBegan: "2026-01-01 20:00:00" },
    { username: "bob", "device-ip": AWAY, connections: 1, "device-type": "mac" },
  ];
  const EXPECTED_OF_VPN: Record<string, { takes: ConnectionKind[]; shows: Row[] }> = {
    "Where a user's connections come from": {
      takes: ["connected", "updated"],
      shows: [{ ...connections[0], firstBegan: "2026-01-01 08:00:00" }, ...connections.slice(1)],
    },
    "Users with most addresses in a day": {
      takes: ["connected", "updated"],
      shows: [
        { username: "carol", addresses: 3, connections: 3, firstBegan: "2026-01-01 09:00:00" },
        { username: "alice", addresses: 2, connections: 3, lastBegan: "2026-01-01 20:00:00" },
      ],
    },
    "Failed attempts by reason": {
      takes: ["failed"],
      shows: [
        { [reason]: "client-connect-failed", attempts: 2, addresses: 1, lastAttempt: "2026-01-01 08:01:54" },
        { [reason]: "client-connect-handler-timed-out", attempts: 1, addresses: 1 },
      ],
    },
    "Client VPN's own log: from which addresses users connect, the most frequent first": {
      takes: ["connected", "updated"],
      shows: connections,
    },
  };

  test("are all here", () => {
    expect(Object.keys(onVpn).sort()).toStrictEqual(Object.keys(EXPECTED_OF_VPN).sort());
  });

  test.each(Object.entries(EXPECTED_OF_VPN))(
    "count connections of this endpoint, of which there are several entries: %s",
    (name, { takes, shows }) => {
      const { taken, shown } = runQuery(String(onVpn[name]), rows);
      const kinds = log.filter(({ row }) => taken.includes(row)).map(({ kind }) => kind);
      expect(kinds).toStrictEqual(log.map(({ kind }) => kind).filter((kind) => takes.includes(kind)));
      expect(shown).toMatchObject(shows);
    },
  );

  test.each([
    ["ALIC", 2],
    [AWAY, 3],
  ])("tell of one user or one address where that is written into its one place: %s", (wanted, lines) => {
    const query = String(onVpn["Where a user's connections come from"]);
    expect(query.split("/(?i)./")).toHaveLength(2);
    const { shown } = runQuery(query.replace("/(?i)./", `/(?i)${wanted}/`), rows);
    expect(shown).toHaveLength(lines);
    for (const row of shown) expect(JSON.stringify(row)).toMatch(new RegExp(wanted, "i"));
  });

  test("go by the common name where that is what names a user", () => {
    const byCommonName = createStack(template, { ...GIVEN, Identity: "common-name" });
    const saved = Object.values(propertiesByType(byCommonName, /QueryDefinition/));
    const query = String(queriesOn(ALL.ConnectionLogGroup, { saved })["Users with most addresses in a day"]);
    const ofCertificates = rows.filter((row) => row["common-name"] !== "NA");
    expect(runQuery(query, ofCertificates).shown).toMatchObject([
      { "common-name": "phone", addresses: 2, connections: 2 },
    ]);
  });
});

test.each<[name: string, takes: readonly Kind[], values: unknown[]]>([
  ["Denial", ["denial"], [1]],
  [
    "UncheckedLogin",
    [
      "login that was let in unchecked",
      "login that was let in although one could not be ended",
      "dry run: unchecked login that would be denied",
      "dry run: unchecked login that would be let in",
    ],
    [1],
  ],
  ["LoggedSweep", SWEEPS, [0, 1, 2]],
])("the metric filter %s takes the entries that it should, and of each a number", (name, takes, values) => {
  const { FilterPattern, MetricTransformations } = propertiesOf(stack, name);
  const [{ MetricValue }] = Object(MetricTransformations);
  const taken = takenBy(String(FilterPattern), linesOf(story));
  expect(taken).toStrictEqual(linesOf(ofKinds(takes)));
  const told = taken.map((line) => (MetricValue === "1" ? 1 : valueAt(JSON.parse(line), MetricValue)));
  expect([...new Set(told)].sort()).toStrictEqual(values);
});

test.each([
  ["parse @message", "does not know this here: parse"],
  ["filter not ispresent(message.decision)", "no entry is found by: not"],
  ["filter message.errorCount < 1", "does not know this here: <"],
  ["filter level != 'INFO'", "does not know this here: !"],
  ["filter strlen(message.user)", "does not know this here: strlen"],
  ["filter message.user = level", "does not know this here: level"],
  ["stats avg(message.durationMs)", "does not know this here: avg"],
  ["stats count(*) by bin(1w)", "does not know this here: 1w"],
  ["fields connection-id", "does not know this here: -"],
  ["fields `level`", "does not know this here: `level`"],
  ["fields `connection-id`", "no entry is found by: `connection-id`"],
  ["fields level # and not at the beginning of a line", "does not know this here: #"],
  ["limit 1 limit 1", "does not know this here: limit"],
  ["fields message.nobody", "no entry is found by: message.nobody"],
  ["filter message.user = 'nobody'", "no entry is found by: message.user = 'nobody'"],
  ["filter message.user in ['alice', 'nobody']", "no entry is found by: message.user in [ 'alice' , 'nobody'"],
  ["filter message.reason like 'by a sweep$'", "no entry is found by: message.reason like 'by a sweep$'"],
  ["stats sum(strcontains(level, 'nobody'))", "no entry is found by: strcontains ( level , 'nobody' )"],
  ["stats sum(level)", "expected a number, got INFO"],
])("a query is refused that is not known here, or looks for what nobody writes: %s", (query, says) => {
  expect(() => runQuery(query, rowsOf(story))).toThrow(says);
});

test.each([
  ["$.message.decision = deny", "do not know this: $.message.decision = deny"],
  ["{ $.message.errorCount < 1 }", "do not know this: $.message.errorCount < 1"],
  ['{ $.message.user = "alice" || $.message.user = "bob" }', "do not know this: $.message.user = "],
  ['{ $.message.decision = "denied" }', 'no entry is found by $.message.decision = "denied"'],
])("a metric filter is refused in the same way: %s", (pattern, says) => {
  expect(() => takenBy(pattern, linesOf(story))).toThrow(says);
});

test("the saved queries read one log group each, and are in a folder with the stack's name", () => {
  expect(savedQueries.length).toBeGreaterThan(8);
  for (const { Name, LogGroupNames } of savedQueries) {
    expect(Name).toMatch(/^client-vpn\/[A-Z][a-z ,()']+$/);
    expect([["<HandlerLog>"], [ALL.ConnectionLogGroup]]).toContainEqual(LogGroupNames);
  }
});

test("what sends one to another saved query names one that is there", () => {
  const folder = savedQueries.map(({ Name }) => String(Name).replace("client-vpn/", ""));
  const { AlarmDescription } = propertiesOf(stack, "Takeovers");
  for (const text of [String(AlarmDescription), String(queries[PUSHED_OUT])]) {
    const named = [...text.matchAll(/"((?:What|Where|Users)[^"]+)"/g)].map(([, name = ""]) => name);
    expect(named).toStrictEqual(expect.arrayContaining(["What happened to one user"]));
    expect(named).toStrictEqual(expect.arrayContaining(["Where a user's connections come from"]));
    for (const name of named)
      expect(
        folder.some((one) => one.startsWith(name)),
        name,
      ).toBe(true);
  }
});

describe("the rule and the alarm on takeovers", () => {
  const { RuleName, RuleState, RuleBody } = propertiesOf(stack, "TakeoverRule");
  const rule = readRule(String(RuleBody));
  const { Threshold } = propertiesOf(stack, "Takeovers");

  test("read the stack's log group, by fields that the handler logs as texts", () => {
    expect([RuleName, RuleState, rule.LogGroupNames]).toStrictEqual([
      "client-vpn-takeovers",
      "ENABLED",
      ["<HandlerLog>"],
    ]);
    expect(contributorsOf(rule, linesOf(story))).toStrictEqual({ alice: 6, bob: 1 });
  });

  test("count within an hour, as the saved query does of the clock", () => {
    const [{ Period }] = Object(propertiesOf(stack, "Takeovers").Metrics);
    expect(Period).toBe(3_600);
    expect(queries[PUSHED_OUT]).toContain(" by message.user, bin(1h) ");
  });

  test.each(["username", "common-name"])(
    "tell who takes a session again and again, and who does not, and the saved query from half as often: %s",
    async (IDENTITY) => {
      const log = new LogGroup();
      const lambdas = {
        enforcing: await lambda().loadWith({ IDENTITY }),
        watching: await lambda().loadWith({ IDENTITY, DRY_RUN: "true" }),
      };
      let next = 0;
      const connect = async (user: string, by: keyof typeof lambdas = "enforcing") => {
        // Minutes apart: it is not a burst.
        const establishedAt = new Date(Date.UTC(2026, 0, 1, 8, next++));
        const connectionId = `cvpn-connection-${next}`;
        const names = IDENTITY === "username" ? { username: user } : { username: "", "common-name": user };
        await log.write("login", lambdas[by], connectEvent({ "connection-id": connectionId, ...names }));
        const row = IDENTITY === "username" ? { username: user, commonName: "" } : { username: "", commonName: user };
        ec2.addConnection({ ...row, connectionId, establishedAt });
      };
      const sweep = (by: keyof typeof lambdas) => log.write("sweep", lambdas[by], { sweep: ENDPOINT_ID });
      // Alice and a thief in turn; Bob changes to his phone and back; Carol's two devices, left by one moment, are swept.
      for (let i = 0; i < 10; i++) await connect("alice");
      for (let i = 0; i < 4; i++) await connect("bob");
      for (const i of [1, 2]) {
        const names = IDENTITY === "username" ? { username: "carol" } : { username: "", commonName: "carol" };
        ec2.addConnection({ ...names, establishedAt: new Date(Date.UTC(2026, 0, 1, 9, i)) });
      }
      for (let i = 0; i < 10; i++) await sweep("watching");
      await sweep("enforcing");
      for (let i = 0; i < 10; i++) await connect("dave", "watching");
      const takeovers = contributorsOf(rule, linesOf(log.entries));
      expect(takeovers).toStrictEqual({ alice: 9, bob: 3, carol: 1, dave: 9 });
      const over = Object.keys(takeovers).filter((user) => (takeovers[user] ?? 0) >= Number(Threshold));
      expect(over).toStrictEqual(["alice", "dave"]);
      expect(runQuery(String(queries[PUSHED_OUT]), rowsOf(log.entries)).shown).toMatchObject([
        { "message.user": "alice", times: 9 },
        { "message.user": "dave", times: 9 },
        { "message.user": "bob", times: 3 },
      ]);
    },
  );
});

describe("the dashboard", () => {
  test("is named after the stack and the Region, as all Regions share the names", () => {
    expect(DashboardName).toBe("client-vpn-us-west-2");
  });

  test("fills the 24 columns without a gap, and no widget lies on another", () => {
    const cells = widgets.flatMap(({ x, y, width, height }) => {
      expect(x + width).toBeLessThanOrEqual(24);
      return Array.from({ length: width * height }, (_, i) => (y + Math.floor(i / width)) * 24 + x + (i % width));
    });
    expect(cells.sort((a, b) => a - b)).toStrictEqual(Array.from({ length: cells.length }, (_, i) => i));
  });

  test("shows the command that lets everybody in", () => {
    const texts = widgetsOf("text").map(({ markdown }) => markdown);
    expect(texts).toStrictEqual([expect.stringContaining(`\`\`\`\n${stack.outputs.LetEverybodyIn}\n\`\`\``)]);
  });

  test("draws what it finds in a log group over time, or lists it", () => {
    for (const { region, query, view, title } of widgetsOf("log")) {
      expect({ region, view }, title).toStrictEqual({
        region: "us-west-2",
        view: / by bin\(15m\)$/.test(String(query)) ? "timeSeries" : "table",
      });
      const own = /^SOURCE '<HandlerLog>' \| filter ispresent\(message\.\w+\) /;
      const ofVpn = /^SOURCE '\/vpn\/connections' \| filter `client-vpn-endpoint-id` = 'cvpn-endpoint-\w+' and /;
      expect(
        [own, ofVpn].some((one) => one.test(String(query))),
        title,
      ).toBe(true);
    }
  });

  test("shows Client VPN's metrics of the endpoint, and Lambda's of the function", () => {
    const shown = widgetsOf("metric").flatMap(({ region, metrics = [] }) => {
      expect(region).toBe("us-west-2");
      // A dot stands for the same as in the row before.
      let row: unknown[] = [];
      return metrics.map((metric) => {
        if (metric.length === 1) return Object(metric[0]).expression;
        row = metric.slice(0, 4).map((part, i) => (part === "." ? row[i] : part));
        return row.join(" ");
      });
    });
    const ofVpn = (name: string) => `AWS/ClientVPN ${name} Endpoint ${ENDPOINT_ID}`;
    const ofLambda = (name: string) => `AWS/Lambda ${name} FunctionName <Handler>`;
    const handler = ["DeniedConnections", "Timeouts", "InvalidResponses", "OtherExecutionErrors", "ThrottlingErrors"];
    expect(shown).toStrictEqual([
      ...["ActiveConnectionsCount", "AuthenticationFailures"].map(ofVpn),
      ...[...handler, "FailedServiceErrors"].map((name) => ofVpn(`ClientConnectHandler${name}`)),
      ...["Invocations", "Errors", "Throttles", "Duration", "Duration", "ConcurrentExecutions"].map(ofLambda),
      `INSIGHT_RULE_METRIC('${propertiesOf(stack, "TakeoverRule").RuleName}', 'MaxContributorValue')`,
    ]);
  });

  test("draws the rule by the alarm's hour, with the number at which the alarm comes", () => {
    const { Metrics, Threshold } = propertiesOf(stack, "Takeovers");
    const [{ Period }] = Object(Metrics);
    const widget = widgetsOf("metric").find(({ metrics }) => JSON.stringify(metrics).includes("INSIGHT_RULE_METRIC"));
    expect(widget).toMatchObject({
      period: Period,
      metrics: [[{ period: Period }]],
      annotations: { horizontal: [{ value: Threshold }] },
    });
  });

  test.each([
    ["without a topic, and so without the rule", { ...GIVEN, AlarmTopicArn: "" }, "INSIGHT_RULE_METRIC", 1],
    ["without Client VPN's log", { ...GIVEN, ConnectionLogGroup: "" }, "connection-id", 1],
    ["with neither", ONLY_WHAT_IS_NEEDED, "INSIGHT_RULE_METRIC", 2],
  ])("does without the widget of what is not there: %s", (_, given, text, fewer) => {
    const { widgets: others } = JSON.parse(
      String(propertiesOf(createStack(template, given), "DashboardPage").DashboardBody),
    );
    expect(others).toHaveLength(widgets.length - fewer);
    expect(JSON.stringify(widgets)).toContain(text);
    expect(JSON.stringify(others)).not.toContain(text);
  });

  test("gives each widget but the text a title of its own", () => {
    const titles = [...widgetsOf("log"), ...widgetsOf("metric")].map(({ title }) => title);
    expect(titles.length).toBe(widgets.length - 1);
    expect(new Set(titles).size).toBe(titles.length);
    for (const title of titles) expect(title).toMatch(/^[A-Z].{20,}/);
  });
});
