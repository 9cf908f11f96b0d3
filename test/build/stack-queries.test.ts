import { beforeAll, describe, expect, test } from "vitest";
import { REFUSED } from "../ec2/faults.ts";
import { ENDPOINT_ID } from "../ec2/server.ts";
import { useBuilt, useEc2 } from "../helpers/built.ts";
import { connectEvent } from "../helpers/events.ts";
import { DIST, measuredUntil } from "../helpers/lambda.ts";
import {
  ALL,
  createStack,
  ONLY_WHAT_IS_NEEDED,
  propertiesByType,
  propertiesOf,
  readTemplate,
} from "./cloudformation.ts";
import { contributorsOf, readRule } from "./insight-rule.ts";

// What dist/stack.yaml looks for in the log is what the handler writes there.

// In another Region than the tests' own, so that none is written out.
const template = readTemplate(`${DIST}stack.yaml`);
const stack = createStack(template, { ...ALL, Dashboard: "true", "AWS::Region": "us-west-2" });
const savedQueries = Object.values(propertiesByType(stack, /QueryDefinition/));
const queries = Object.fromEntries(savedQueries.map(({ Name, QueryString }) => [String(Name), String(QueryString)]));
const patterns = Object.values(propertiesByType(stack, /MetricFilter/)).map(
  ({ FilterPattern, MetricTransformations }) => [FilterPattern, Object(MetricTransformations)[0].MetricValue].join(),
);
const { DashboardName, DashboardBody } = propertiesOf(stack, "DashboardPage");
const { widgets }: { widgets: Widget[] } = JSON.parse(String(DashboardBody));
type Widget = Record<"x" | "y" | "width" | "height", number> & {
  type: string;
  properties: { region?: string; title?: string; markdown?: string; view?: string; query?: string; metrics?: Metric[] };
};
type Metric = [namespace: string, name: string, dimension: string, value: string, options: object] | [math: object];
const widgetsOf = (type: string) => widgets.filter((one) => one.type === type).map(({ properties }) => properties);

/** The entries of the log, as CloudWatch gets them from Lambda. A sweep's own are those without a user. */
const log: Record<"login" | "sweep", string[]> = { login: [], sweep: [] };
const ec2 = useEc2();
const { lambda } = useBuilt(ec2, "index.cjs", { AWS_LAMBDA_LOG_FORMAT: "JSON" });

beforeAll(async () => {
  for (const DRY_RUN of ["true", "false"]) {
    const loaded = await lambda().loadWith({ DRY_RUN });
    const write = async (kind: keyof typeof log, event: unknown) => {
      const invocation = await loaded.invoke(event).catch(measuredUntil);
      for (const { level, message } of invocation.log) log[kind].push(JSON.stringify({ level, message: message[0] }));
    };
    for (const fault of [undefined, REFUSED]) {
      ec2.reset();
      ec2.addConnection();
      ec2.addConnection({ establishedAt: new Date() });
      if (fault) ec2.fail("DescribeClientVpnConnections", fault);
      await write("sweep", { sweep: ENDPOINT_ID });
      if (fault) ec2.fail("DescribeClientVpnConnections", fault);
      await write("login", connectEvent());
    }
  }
});

/** The entries of both kinds that are about a user. */
const ofUsers = () => [...log.login, ...log.sweep.filter((entry) => JSON.parse(entry).message.user)];

/** The paths of all fields in entries, as CloudWatch Logs Insights names them: `message.errors.0.code`. */
function fieldsOf(entries: string[]): Set<string> {
  const paths = (value: unknown): string[] =>
    typeof value === "object" && value !== null
      ? Object.entries(value).flatMap(([name, inner]) => [name, ...paths(inner).map((path) => `${name}.${path}`)])
      : [];
  return new Set(entries.flatMap((entry) => paths(JSON.parse(entry))));
}

test.each([...Object.values(queries), ...widgetsOf("log").map(({ query }) => String(query)), ...patterns])(
  "reads either logins, or sweeps, or what is about a user, and fields that these have: %s",
  (text) => {
    const read = [...text.matchAll(/\bmessage(?:\.\w+)+/g)].map(([field]) => field);
    const entries = {
      "message.decision": log.login,
      "message.active": log.sweep.filter((entry) => !JSON.parse(entry).message.user),
      "message.reason": ofUsers(),
    }[String(read[0])];
    const fields = fieldsOf(entries ?? []);
    expect(read.filter((field) => !fields.has(field))).toStrictEqual([]);
  },
);

test("the saved queries read the stack's log group, and are in a folder with the stack's name", () => {
  expect(savedQueries.length).toBeGreaterThan(4);
  for (const { Name, LogGroupNames } of savedQueries) {
    expect(Name).toMatch(/^client-vpn\/[A-Z][a-z ,()]+$/);
    expect(LogGroupNames).toStrictEqual(["<HandlerLog>"]);
  }
});

test("names the users whose sessions a sweep ended, or would have ended", () => {
  const query = queries["client-vpn/Whose sessions a sweep ended, or would have"];
  const [, pattern = ""] = /^filter message\.reason like \/(.*)\/\n/.exec(String(query)) ?? [];
  expect(pattern).not.toBe("");
  const entries = [...log.login, ...log.sweep].map((entry) => JSON.parse(entry).message);
  const swept = entries.filter(({ reason }) => new RegExp(pattern).test(reason));
  expect(swept).toMatchObject([
    { user: "alice", terminatedCount: 0, dryRun: { terminatedCount: 1 } },
    { user: "alice", terminatedCount: 1 },
  ]);
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
    expect(rule.Contribution.Keys).toStrictEqual(["$.message.user"]);
    expect(contributorsOf(rule, [...log.login, ...log.sweep])).toStrictEqual({ alice: 3 });
  });

  test("count what the saved query lists, from half of the alarm's number within an hour of the clock", () => {
    const [, query = ""] =
      Object.entries(queries).find(([name]) => name.includes("/Users whose connections push")) ?? [];
    const [, reasons = ""] = /^filter message\.reason in (\[[^\]]*\])/.exec(query) ?? [];
    expect(rule.Contribution.Filters).toStrictEqual([{ Match: "$.message.reason", In: expect.any(Array) }]);
    expect(new Set(JSON.parse(reasons))).toStrictEqual(new Set(rule.Contribution.Filters[0]?.In));
    expect(query).toContain(`\n| filter times * 2 >= ${Threshold}\n`);
    expect(query).toContain(" by message.user, bin(1h) ");
  });

  test.each(["username", "common-name"])(
    "tell who takes a session again and again, and who does not: %s",
    async (IDENTITY) => {
      const story: string[] = [];
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
        const { response, log } = await lambdas[by].invoke(connectEvent({ "connection-id": connectionId, ...names }));
        expect(response.allow).toBe(true);
        story.push(...log.map(({ level, message }) => JSON.stringify({ level, message: message[0] })));
        const row = IDENTITY === "username" ? { username: user, commonName: "" } : { username: "", commonName: user };
        ec2.addConnection({ ...row, connectionId, establishedAt });
      };
      const sweep = async (by: keyof typeof lambdas) => {
        const { log } = await lambdas[by].sweep({ sweep: ENDPOINT_ID });
        story.push(...log.map(({ level, message }) => JSON.stringify({ level, message: message[0] })));
      };
      // Alice and a thief in turn; Bob changes to his phone and back; Carol's two devices, left by one moment, are swept.
      for (let i = 0; i < 10; i++) await connect("alice");
      for (let i = 0; i < 3; i++) await connect("bob");
      for (const i of [1, 2]) {
        const names = IDENTITY === "username" ? { username: "carol" } : { username: "", commonName: "carol" };
        ec2.addConnection({ ...names, establishedAt: new Date(Date.UTC(2026, 0, 1, 9, i)) });
      }
      for (let i = 0; i < 10; i++) await sweep("watching");
      await sweep("enforcing");
      for (let i = 0; i < 10; i++) await connect("dave", "watching");
      const takeovers = contributorsOf(rule, story);
      expect(takeovers).toStrictEqual({ alice: 9, bob: 2, carol: 1, dave: 9 });
      const over = Object.keys(takeovers).filter((user) => (takeovers[user] ?? 0) >= Number(Threshold));
      expect(over).toStrictEqual(["alice", "dave"]);
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

  test("draws what it finds in the stack's log group over time, or lists it", () => {
    for (const { region, query, view, title } of widgetsOf("log")) {
      expect({ region, view }, title).toStrictEqual({
        region: "us-west-2",
        view: / by bin\(15m\)$/.test(String(query)) ? "timeSeries" : "table",
      });
      expect(query).toMatch(/^SOURCE '<HandlerLog>' \| filter ispresent\(message\.\w+\) /);
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

  test("does without the rule's widget where there is no topic, and so no rule", () => {
    const withoutTopic = createStack(template, ONLY_WHAT_IS_NEEDED);
    const { widgets: others } = JSON.parse(String(propertiesOf(withoutTopic, "DashboardPage").DashboardBody));
    expect(others).toHaveLength(widgets.length - 1);
    expect(JSON.stringify(others)).not.toContain("INSIGHT_RULE_METRIC");
  });

  test("gives each widget but the text a title of its own", () => {
    const titles = [...widgetsOf("log"), ...widgetsOf("metric")].map(({ title }) => title);
    expect(titles.length).toBe(widgets.length - 1);
    expect(new Set(titles).size).toBe(titles.length);
    for (const title of titles) expect(title).toMatch(/^[A-Z].{20,}/);
  });
});
