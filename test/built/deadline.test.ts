import { beforeAll, describe, expect, test } from "vitest";
import { type Fault, THROTTLED } from "../ec2/faults.ts";
import { LoopbackEc2 } from "../ec2/server.ts";
import { ALLOWED, checkAnswer, checkUsualAnswer } from "../helpers/answers.ts";
import { BUILT, statuses, sweepThatThrows, useBuilt, useSharedEc2 } from "../helpers/built.ts";
import { connectEvent } from "../helpers/events.ts";
import type { Invocable, Invocation, InvokeOptions } from "../helpers/lambda.ts";

// Every test here waits for a deadline, so they wait together. Each has a user of its own, whose name says what EC2 does
// to the calls for that user.

const LASTING: Record<string, Fault> = {
  hangs: "hang",
  drips: "drip",
  stalls: "stall",
  throttles: THROTTLED,
  resets: "reset",
  "is unavailable": { status: 503, code: "Unavailable", message: "The server is overloaded" },
};

/** Of a termination, these lose the answer alone: the next try finds the connection gone. */
const CARRIED_OUT = ["drips", "stalls"];

/** Checks that the answer is a denial, in a time that does not count what a busy machine adds; returns the log entry. */
function expectDenied(invocation: Invocation, withinMs: number) {
  const entry = checkUsualAnswer(invocation);
  expect(invocation.response.allow).toBe(false);
  expect(invocation.durationMs - invocation.lateMs).toBeLessThan(withinMs);
  return entry;
}

describe.concurrent.each(BUILT)("dist/%s", (file) => {
  const ec2 = useSharedEc2();
  const { lambda } = useBuilt(ec2, file);
  let dryRun: Invocable;

  beforeAll(async () => {
    dryRun = await lambda().loadWith({ DRY_RUN: "true" });
    const describeFault = (params: URLSearchParams): Fault | undefined => {
      const username = String(params.get("Filter.1.Value.1"));
      return username === "pages" ? "endless" : LASTING[username];
    };
    const terminateFault = (params: URLSearchParams) =>
      LASTING[String(params.get("ConnectionId")).replace(/ \d+$/, "")];
    // The first login compiles what the others run, and all of them at once would wait for it.
    ec2.addConnection({ username: "the first" });
    await lambda().invoke(connectEvent({ username: "the first" }));
    ec2.fail("DescribeClientVpnConnections", describeFault, Number.POSITIVE_INFINITY);
    ec2.fail("TerminateClientVpnConnections", terminateFault, Number.POSITIVE_INFINITY);
  });

  test.each(Object.keys(LASTING))(
    "is on time within Lambda's default 3 s when EC2 %s in the look-up",
    async (username) => {
      const older = ec2.addConnection({ username });
      const invocation = await lambda().invoke(connectEvent({ username }), { remaining: 3_000 });
      expectDenied(invocation, 2_500);
      expect(older.status).toBe("active");
    },
  );

  test.each(CARRIED_OUT)("allows when EC2 ends twelve connections, but %s each time it says so", async (fault) => {
    const username = `user whom EC2 ends, but ${fault}`;
    for (let i = 0; i < 12; i++) ec2.addConnection({ username, connectionId: `${fault} ${i + 100}` });
    const invocation = await lambda().invoke(connectEvent({ username }), { remaining: 30_000 });
    expect(invocation.response).toStrictEqual(ALLOWED);
    checkUsualAnswer(invocation);
  });

  test("is on time when EC2 always has one more page", async () => {
    const invocation = await lambda().invoke(connectEvent({ username: "pages" }), { remaining: 3_000 });
    expectDenied(invocation, 2_500);
  });

  test.each(Object.keys(LASTING))(
    "in a dry run lets a login in within 5 s when EC2 %s, and logs the denial",
    async (username) => {
      const invocation = await dryRun.invoke(connectEvent({ username }));
      const { entry, level } = checkAnswer(invocation);
      expect(invocation.response).toStrictEqual(ALLOWED);
      expect(invocation.durationMs - invocation.lateMs).toBeLessThan(5_500);
      expect(level).toBe("error");
      expect(entry).toMatchObject({
        reason: "dry run: older connections could not be looked up",
        errors: [expect.any(Object)],
        dryRun: { decision: "deny" },
      });
    },
  );

  // The rest is the handler's own, whatever SDK is in it or beside it.
  if (file !== "index.cjs") return;

  const notCarriedOut = Object.keys(LASTING).filter((fault) => !CARRIED_OUT.includes(fault));
  test.each(notCarriedOut)("is on time when EC2 %s in eleven of twelve terminations", async (fault) => {
    const username = `user for whom EC2 ${fault} in the terminations`;
    const served = ec2.addConnection({ username, establishedAt: new Date() });
    for (let i = 0; i < 11; i++) ec2.addConnection({ username, connectionId: `${fault} ${i}` });
    const invocation = await lambda().invoke(connectEvent({ username }), { remaining: 30_000 });
    const entry = expectDenied(invocation, 29_500);
    expect(entry).toMatchObject({
      reason: "older connections could not be terminated",
      terminated: [served.connectionId],
      notTerminatedCount: 11,
    });
    expect(entry.errors.length).toBeGreaterThan(0);
    expect(entry.errors.length).toBeLessThanOrEqual(10);
  });

  test("denies after more than 20 s, and says why, when EC2 throttles for the whole 30 s", async () => {
    const login = () => lambda().invoke(connectEvent({ username: "throttles" }), { remaining: 30_000 });
    const invocations = await Promise.all([login(), login(), login(), login(), login()]);
    for (const { durationMs } of invocations) expect(durationMs).toBeGreaterThan(20_000);
    const errors = invocations.flatMap((invocation) => expectDenied(invocation, 29_500).errors);
    // The last call has little time, and may end before EC2 has said anything: what it said before stands.
    const inWordsOfEc2 = { code: "RequestLimitExceeded", message: "Request limit exceeded." };
    expect(errors).toStrictEqual(invocations.map(() => inWordsOfEc2));
  });

  test.each<[string, InvokeOptions]>([
    ["no context tells the time", {}],
    ["the function has 15 minutes", { remaining: 900_000 }],
  ])("denies within 29 s when EC2 hangs and %s", async (_, options) => {
    const invocation = await lambda().invoke(connectEvent({ username: "hangs" }), options);
    expectDenied(invocation, 29_500);
    expect(invocation.durationMs).toBeGreaterThan(20_000);
  });

  test("in a sweep ends nobody whose list is 30 s old, however long the function may run", async () => {
    // An endpoint of its own: it is to find none of the others' connections.
    const swept = new LoopbackEc2();
    swept.endpointId = "cvpn-endpoint-0badc0de0badc0de0";
    swept.fail("TerminateClientVpnConnections", THROTTLED, Number.POSITIVE_INFINITY);
    ec2.beside = [swept];
    const rows = [1, 2].map((day) => swept.addConnection({ establishedAt: new Date(2025, 1, day) }));
    const { invocation } = await sweepThatThrows(lambda(), { sweep: swept.endpointId }, { remaining: 900_000 });
    expect(invocation.durationMs).toBeGreaterThan(20_000);
    expect(invocation.durationMs - invocation.lateMs).toBeLessThan(29_500);
    expect(statuses(rows)).toStrictEqual(["active", "active"]);
  });
});
