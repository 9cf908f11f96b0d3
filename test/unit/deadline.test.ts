import { DescribeClientVpnConnectionsCommand, TerminateClientVpnConnectionsCommand } from "@aws-sdk/client-ec2";
import { describe, expect, test, vi } from "vitest";
import { handler } from "../../src/handler.ts";
import { ALLOWED, expectValidAnswer } from "../helpers/answers.ts";
import { connectEvent } from "../helpers/events.ts";
import { row, useMocks } from "../helpers/mocked.ts";

const { ec2, error, listed, terminated } = useMocks();

describe("the deadline", () => {
  /** An SDK that hears no signal and never settles: nothing but the handler itself can be on time then. */
  const never = () => new Promise<never>(() => {});

  async function timed(context?: Parameters<typeof handler>[1]) {
    const startedAt = performance.now();
    const response = await handler(connectEvent(), context);
    expectValidAnswer(response);
    return { response, ms: performance.now() - startedAt, entry: JSON.parse(error.mock.calls[0]?.[0] ?? "{}") };
  }

  test("is kept when the look-up never settles", async () => {
    ec2.on(DescribeClientVpnConnectionsCommand).callsFake(never);
    const { response, ms, entry } = await timed({ getRemainingTimeInMillis: () => 1_600 });
    expect(response.allow).toBe(false);
    expect(ms).toBeGreaterThan(400);
    expect(ms).toBeLessThan(1_300);
    expect(entry.errors).toStrictEqual([{ code: "TimeoutError", message: "no answer from EC2 in time" }]);
  });

  test("is kept when a termination never settles, and the log tells which", async () => {
    listed(row("ends"), row("hangs"));
    ec2.on(TerminateClientVpnConnectionsCommand, { ConnectionId: "hangs" }).callsFake(never);
    const { response, ms, entry } = await timed({ getRemainingTimeInMillis: () => 1_600 });
    expect(response.allow).toBe(false);
    expect(ms).toBeLessThan(1_300);
    expect(entry).toMatchObject({ terminated: ["ends"], notTerminated: ["hangs"] });
    expect(entry.errors).toStrictEqual([
      { connectionId: "hangs", code: "TimeoutError", message: "no answer from EC2 in time" },
    ]);
  });

  test("starts no further termination when it has passed", async () => {
    listed(...Array.from({ length: 40 }, (_, i) => row(`older-${i}`)));
    ec2.on(TerminateClientVpnConnectionsCommand).callsFake(never);
    const { entry } = await timed({ getRemainingTimeInMillis: () => 1_600 });
    expect(new Set(terminated()).size).toBe(10);
    expect(entry).toMatchObject({ notTerminatedCount: 40, errorCount: 10 });
  });

  test.each([-1, 0, 500, 1_000, 1_050, Number.NaN])("denies at once when only %d ms remain", async (remaining) => {
    const { response, entry } = await timed({ getRemainingTimeInMillis: () => remaining });
    expect(response.allow).toBe(false);
    expect(ec2.calls()).toHaveLength(0);
    expect(entry.errors).toStrictEqual([{ code: "DeadlineExceeded", message: "no time left to call EC2" }]);
  });

  test("leaves a healthy EC2 the time that there is, little as it may be", async () => {
    listed(row("older"));
    const { response } = await timed({ getRemainingTimeInMillis: () => 1_250 });
    expect(response).toStrictEqual(ALLOWED);
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
