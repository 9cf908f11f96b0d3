import { DescribeClientVpnConnectionsCommand, TerminateClientVpnConnectionsCommand } from "@aws-sdk/client-ec2";
import { beforeEach, describe, expect, test, vi } from "vitest";
import { handler } from "../../src/handler.ts";
import { THROTTLED } from "../ec2/faults.ts";
import { ENDPOINT_ID } from "../ec2/server.ts";
import { ALLOWED, expectValidAnswer } from "../helpers/answers.ts";
import { contextOf, never, useClock } from "../helpers/clock.ts";
import { connectEvent } from "../helpers/events.ts";
import { row, useMocks } from "../helpers/mocked.ts";

vi.mock("node:timers/promises", () => import("../helpers/clock.ts"));

const { ec2, info, error, listed, terminated } = useMocks();
const timed = useClock();
const TIMED_OUT = { code: "TimeoutError", message: "no answer from EC2 in time" };

const later = <T>(ms: number, value: T) => new Promise<T>((resolve) => setTimeout(resolve, ms, value));
const throttled = () => Promise.reject(Object.assign(new Error(THROTTLED.message), { name: THROTTLED.code }));

/** Returns the one log entry, beside those of a sweep's users. */
function entryOf() {
  const entries = [...info.mock.calls, ...error.mock.calls].flat().map((line) => JSON.parse(line));
  const own = entries.filter(({ reason = "" }) => !reason.endsWith("by a sweep"));
  expect(own).toHaveLength(1);
  return own[0];
}

async function login(remaining?: number) {
  const { settled, ms } = await timed(() => handler(connectEvent(), contextOf(remaining)));
  const response: unknown = settled.status === "fulfilled" ? settled.value : settled.reason;
  expectValidAnswer(response);
  return { response, ms, entry: entryOf() };
}

async function sweep(remaining?: number) {
  const { settled, ms } = await timed(() => handler({ sweep: ENDPOINT_ID }, contextOf(remaining)));
  return { settled, ms, entry: entryOf() };
}

/** Rows of alice's, the newest first. */
const rows = (count: number) =>
  Array.from({ length: count }, (_, i) =>
    row(`older-${i}`, { ConnectionEstablishedTime: new Date(1e12 - i * 1_000).toISOString() }),
  );

describe.each([
  ["login", login],
  ["sweep", sweep],
])("the time of a %s", (_, invoke) => {
  test.each([
    [1_250, 250],
    [1_600, 600],
    [3_000, 2_000],
    [30_000, 29_000],
    [900_000, 29_000],
    [undefined, 29_000],
  ])("of %s ms is used up, but for a second, and no more than 30 s", async (remaining, deadline) => {
    ec2.on(DescribeClientVpnConnectionsCommand).callsFake(never);
    const { ms, entry } = await invoke(remaining);
    expect(ms).toBeGreaterThan(deadline - 100);
    expect(ms).toBeLessThanOrEqual(deadline);
    expect(entry.errors[0]).toStrictEqual(TIMED_OUT);
    expect(entry.durationMs).toBe(Math.round(ms));
  });

  test.each([undefined, 900_000])("is one for the list and for the terminations: %s ms", async (remaining) => {
    const isListed = () => performance.now() >= startedAt + 20_000;
    const startedAt = performance.now();
    const Connections = rows(12);
    ec2.on(DescribeClientVpnConnectionsCommand).callsFake(() => (isListed() ? { Connections } : throttled()));
    ec2.on(TerminateClientVpnConnectionsCommand).callsFake(never);
    const { ms, entry } = await invoke(remaining);
    // It is what took the time that the terminations lack.
    expect(entry.errors[0]).toMatchObject({ code: "RequestLimitExceeded" });
    expect(ms).toBeGreaterThan(28_900);
    expect(ms).toBeLessThanOrEqual(29_000);
  });

  test("is what the log says it is", async () => {
    ec2.on(DescribeClientVpnConnectionsCommand).callsFake(() => later(1_000, { Connections: rows(2) }));
    ec2.on(TerminateClientVpnConnectionsCommand).callsFake(() => later(234, { ClientVpnEndpointId: ENDPOINT_ID }));
    const { entry } = await invoke();
    expect(entry).toMatchObject({ durationMs: 1_234, errorCount: 0 });
  });

  test.each([-1, 0, 500, 1_000, 1_050, Number.NaN])("of only %d ms is too little to ask EC2", async (remaining) => {
    const { ms, entry } = await invoke(remaining);
    expect(ms).toBe(0);
    expect(ec2.calls()).toHaveLength(0);
    expect(entry.errors[0]).toStrictEqual({ code: "DeadlineExceeded", message: "no time left to call EC2" });
  });

  test("of little more than a second is enough for a healthy EC2", async () => {
    ec2.on(DescribeClientVpnConnectionsCommand).callsFake(() => later(40, { Connections: rows(2) }));
    const { entry } = await invoke(1_250);
    expect(entry).toMatchObject({ errorCount: 0, terminated: expect.arrayContaining(["older-1"]) });
  });
});

describe("a call", () => {
  test.each([
    [30_000, 5_000],
    [11_000, 5_000],
    [3_000, 1_000],
  ])("that is dead is given up, within %d ms, after %d ms, and another one is made", async (remaining, ms) => {
    ec2.on(DescribeClientVpnConnectionsCommand).callsFakeOnce(never).resolves({ Connections: [] });
    const random = vi.spyOn(Math, "random").mockReturnValue(1);
    const { response, entry } = await login(remaining);
    random.mockRestore();
    expect(response).toStrictEqual(ALLOWED);
    expect(ec2.calls()).toHaveLength(2);
    expect(entry.durationMs).toBe(ms + 250);
  });
});

test("a login names the terminations that never settle, and those that did", async () => {
  listed(row("ends"), row("hangs"));
  ec2.on(TerminateClientVpnConnectionsCommand, { ConnectionId: "hangs" }).callsFake(never);
  const { response, entry } = await login(1_600);
  expect(response.allow).toBe(false);
  expect(entry).toMatchObject({ terminated: ["ends"], notTerminated: ["hangs"] });
  expect(entry.errors).toStrictEqual([{ connectionId: "hangs", ...TIMED_OUT }]);
});

test("a login starts no further termination when its time is over", async () => {
  listed(...rows(40));
  ec2.on(TerminateClientVpnConnectionsCommand).callsFake(never);
  const { entry } = await login(1_600);
  expect(new Set(terminated()).size).toBe(10);
  expect(entry).toMatchObject({ notTerminatedCount: 40, errorCount: 10 });
});

describe("a sweep throws when its time is over", () => {
  beforeEach(() => {
    ec2.on(TerminateClientVpnConnectionsCommand).callsFake(throttled);
  });

  test("among 20,000 to end, after the ten terminations that were under way", async () => {
    listed(...rows(20_001));
    const { settled, ms, entry } = await sweep(10_000);
    expect(settled).toMatchObject({ status: "rejected", reason: { name: "IncompleteSweep" } });
    expect(ms).toBeLessThanOrEqual(9_000);
    expect(new Set(terminated()).size).toBe(10);
    expect(entry).toMatchObject({ active: 20_001, notTerminatedCount: 20_000, errorCount: 10 });
  });

  test("before the list is read, and ends nobody, as too little is known in time", async () => {
    let page = 0;
    ec2
      .on(DescribeClientVpnConnectionsCommand)
      .callsFake(() => later(50, { Connections: page === 0 ? rows(2) : [], NextToken: String(page++) }));
    const { settled, entry } = await sweep(1_600);
    expect(settled).toMatchObject({ status: "rejected", reason: { name: "IncompleteSweep" } });
    expect(terminated()).toStrictEqual([]);
    expect(entry).toMatchObject({ active: 2, terminated: [], notTerminated: [] });
  });
});

describe("a context whose clock fails", () => {
  const getRemainingTimeInMillis = () => JSON.parse("no clock");

  test("is answered with a denial", async () => {
    const response = await handler(connectEvent(), { getRemainingTimeInMillis });
    expectValidAnswer(response);
    expect(response.allow).toBe(false);
  });

  test.each([
    [{ DRY_RUN: "true" }, "dry run: an unexpected error"],
    [{ ON_FAILURE: "allow" }, "an unexpected error"],
  ])("keeps nobody out with %j", async (settings, reason) => {
    for (const [name, value] of Object.entries(settings)) vi.stubEnv(name, value);
    vi.resetModules();
    const { handler } = await import("../../src/handler.ts");
    expect(await handler(connectEvent(), { getRemainingTimeInMillis })).toStrictEqual(ALLOWED);
    expect(JSON.parse(error.mock.calls[0]?.[0])).toMatchObject({ reason, errorCount: 1 });
  });
});
