import { beforeAll, describe, expect, test } from "vitest";
import { REFUSED } from "../ec2/faults.ts";
import { ENDPOINT_ID } from "../ec2/server.ts";
import { startBuilt, stopBuilt, useEc2 } from "../helpers/built.ts";
import { connectEvent } from "../helpers/events.ts";
import { DIST, measuredUntil } from "../helpers/lambda.ts";
import { ALL, createStack, propertiesByType, propertiesOf, readTemplate } from "./cloudformation.ts";

// What dist/stack.yaml looks for in the log is what the handler writes there.

// In another Region than the tests' own, so that none is written out.
const stack = createStack(readTemplate(`${DIST}stack.yaml`), { ...ALL, Dashboard: "true", "AWS::Region": "us-west-2" });
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
type Metric = [namespace: string, name: string, dimension: string, value: string, options: object];
const widgetsOf = (type: string) => widgets.filter((one) => one.type === type).map(({ properties }) => properties);

/** The entries of the log, as CloudWatch gets them from Lambda. */
const log: Record<"login" | "sweep", string[]> = { login: [], sweep: [] };
const ec2 = useEc2();

beforeAll(async () => {
  for (const DRY_RUN of ["true", "false"]) {
    const lambda = await startBuilt({ ...ec2.env, DRY_RUN, AWS_LAMBDA_LOG_FORMAT: "JSON" });
    const write = async (kind: keyof typeof log, event: unknown) => {
      const invocation = await lambda.invoke(event).catch(measuredUntil);
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
    await stopBuilt(lambda);
  }
});

/** The paths of all fields in entries, as CloudWatch Logs Insights names them: `message.errors.0.code`. */
function fieldsOf(entries: string[]): Set<string> {
  const paths = (value: unknown): string[] =>
    typeof value === "object" && value !== null
      ? Object.entries(value).flatMap(([name, inner]) => [name, ...paths(inner).map((path) => `${name}.${path}`)])
      : [];
  return new Set(entries.flatMap((entry) => paths(JSON.parse(entry))));
}

test.each([...Object.values(queries), ...widgetsOf("log").map(({ query }) => String(query)), ...patterns])(
  "reads either logins or sweeps, and fields that these have: %s",
  (text) => {
    const read = [...text.matchAll(/\bmessage(?:\.\w+)+/g)].map(([field]) => field);
    expect(read[0]).toMatch(/^message\.(decision|active)$/);
    const fields = fieldsOf(log[read[0] === "message.decision" ? "login" : "sweep"]);
    expect(read.filter((field) => !fields.has(field))).toStrictEqual([]);
  },
);

test("the saved queries read the stack's log group, and are in a folder with the stack's name", () => {
  expect(savedQueries.length).toBeGreaterThan(4);
  for (const { Name, LogGroupNames } of savedQueries) {
    expect(Name).toMatch(/^client-vpn\/[A-Z][a-z ,]+$/);
    expect(LogGroupNames).toStrictEqual(["<HandlerLog>"]);
  }
});

test("names the users whose sessions a sweep ended, or would have ended", () => {
  const query = queries["client-vpn/Whose sessions a sweep ended, or would have"];
  const [, pattern = ""] =
    /^filter ispresent\(message\.active\) .*\n\| parse @message \/(.*)\//.exec(String(query)) ?? [];
  const users = log.sweep.map((entry) => new RegExp(pattern).exec(entry)?.groups?.users);
  expect(users).toStrictEqual(['"alice"', undefined, '"alice"', undefined]);
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
    ]);
  });

  test("gives each widget but the text a title of its own", () => {
    const titles = [...widgetsOf("log"), ...widgetsOf("metric")].map(({ title }) => title);
    expect(titles.length).toBe(widgets.length - 1);
    expect(new Set(titles).size).toBe(titles.length);
    for (const title of titles) expect(title).toMatch(/^[A-Z].{20,}/);
  });
});
