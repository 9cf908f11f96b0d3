import { beforeAll, expect, test } from "vitest";
import { REFUSED } from "../ec2/faults.ts";
import { ENDPOINT_ID } from "../ec2/server.ts";
import { startBuilt, stopBuilt, useEc2 } from "../helpers/built.ts";
import { connectEvent } from "../helpers/events.ts";
import { DIST, InvocationError } from "../helpers/lambda.ts";
import { ALL, createStack, propertiesByType, readTemplate } from "./cloudformation.ts";

// What dist/stack.yaml looks for in the log is what the handler writes there.

const stack = createStack(readTemplate(`${DIST}stack.yaml`), ALL);
const savedQueries = Object.values(propertiesByType(stack, /QueryDefinition/));
const queries = Object.fromEntries(savedQueries.map(({ Name, QueryString }) => [String(Name), String(QueryString)]));
const patterns = Object.values(propertiesByType(stack, /MetricFilter/)).map(
  ({ FilterPattern, MetricTransformations }) => [FilterPattern, Object(MetricTransformations)[0].MetricValue].join(),
);

/** The entries of the log, as CloudWatch gets them from Lambda. */
const log: Record<"login" | "sweep", string[]> = { login: [], sweep: [] };
const ec2 = useEc2();

beforeAll(async () => {
  for (const DRY_RUN of ["true", "false"]) {
    const lambda = await startBuilt({ ...ec2.env, DRY_RUN, AWS_LAMBDA_LOG_FORMAT: "JSON" });
    const write = async (kind: keyof typeof log, event: unknown) => {
      const invocation = await lambda.invoke(event).catch((error: unknown) => {
        if (error instanceof InvocationError) return error.invocation;
        throw error;
      });
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

test.each([...Object.entries(queries), ...patterns.map((pattern) => [pattern, pattern] as const)])(
  "reads either logins or sweeps, and fields that these have: %s",
  (_, text) => {
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
  const [, pattern = ""] = /parse @message \/(.*)\//.exec(Object.values(queries).join("\n")) ?? [];
  const users = log.sweep.map((entry) => new RegExp(pattern).exec(entry)?.groups?.users);
  expect(users).toStrictEqual(['"alice"', undefined, '"alice"', undefined]);
});
