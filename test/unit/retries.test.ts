import { DescribeClientVpnConnectionsCommand } from "@aws-sdk/client-ec2";
import { afterEach, describe, expect, test, vi } from "vitest";
import { handler } from "../../src/handler.ts";
import { THROTTLED } from "../ec2/faults.ts";
import { ALLOWED } from "../helpers/answers.ts";
import { useClock } from "../helpers/clock.ts";
import { connectEvent } from "../helpers/events.ts";
import { row, useMocks } from "../helpers/mocked.ts";

vi.mock("node:timers/promises", () => import("../helpers/clock.ts"));

const { ec2, error, terminated } = useMocks();
const timed = useClock();

const random = vi.spyOn(Math, "random");

afterEach(() => {
  random.mockReset();
});

/** Asks the handler, and returns its answer and when it called EC2, in ms from the start. */
async function login(remaining: number, fail: (call: number) => object | undefined) {
  const startedAt = performance.now();
  const at: number[] = [];
  ec2.on(DescribeClientVpnConnectionsCommand).callsFake(async () => {
    at.push(performance.now() - startedAt);
    const fields = fail(at.length);
    if (fields) throw Object.assign(new Error("no"), fields);
    return { Connections: [row("older")] };
  });
  const { settled } = await timed(() => handler(connectEvent(), { getRemainingTimeInMillis: () => remaining }));
  const gaps = at.slice(1).map((ms, i) => ms - (at[i] ?? 0));
  return { response: settled.status === "fulfilled" ? settled.value : settled.reason, at, gaps };
}

const throttling = () => ({ name: THROTTLED.code, message: THROTTLED.message });
const reset = () => ({ code: "ECONNRESET" });
const firstFour = (call: number) => (call <= 4 ? throttling() : undefined);

describe("between two calls, a login waits", () => {
  const CHANCES: [what: string, chance: number, share: number][] = [
    ["a quarter of that", 0, 0.25],
    ["five eighths of it", 0.5, 0.625],
    ["all of it", 1, 1],
  ];

  test.each(CHANCES)(
    "250 ms, then twice as long each time, and 8 s at the most; by chance, %s",
    async (_, chance, share) => {
      random.mockReturnValue(chance);
      const { gaps } = await login(30_000, reset);
      const longest = [250, 500, 1_000, 2_000, 4_000, 8_000];
      expect(gaps.slice(0, 6)).toStrictEqual(longest.map((ms) => Math.trunc(ms * share)));
    },
  );

  test.each(CHANCES)(
    "3 s after EC2 throttled, then 6 s, and 8 s at the most; by chance, %s",
    async (_, chance, share) => {
      random.mockReturnValue(chance);
      const { gaps } = await login(30_000, throttling);
      expect(gaps.slice(0, 3)).toStrictEqual([3_000, 6_000, 8_000].map((ms) => ms * share));
    },
  );

  test("little again where a connection is lost after EC2 throttled", async () => {
    random.mockReturnValue(1);
    const { gaps } = await login(30_000, (call) => [throttling(), reset()][call - 1]);
    expect(gaps).toStrictEqual([3_000, 500]);
  });

  test("another time each time", async () => {
    random.mockReturnValueOnce(0).mockReturnValueOnce(1);
    const { gaps } = await login(30_000, (call) => (call <= 2 ? throttling() : undefined));
    expect(gaps).toStrictEqual([750, 6_000]);
  });

  test.each([0, 1])("so little at the end that its last call still has the time for an answer: %d", async (chance) => {
    random.mockReturnValue(chance);
    const { response, at } = await login(30_000, throttling);
    expect(response.allow).toBe(false);
    const left = 29_000 - (at.at(-1) ?? 0);
    expect(left).toBeGreaterThanOrEqual(100);
    expect(left).toBeLessThan(105);
    expect(JSON.parse(error.mock.calls[0]?.[0]).errors).toStrictEqual([
      { code: "RequestLimitExceeded", message: "Request limit exceeded." },
    ]);
  });

  test("no longer, after four calls were throttled, than Lambda gives by default", async () => {
    random.mockReturnValue(1);
    expect((await login(3_000, firstFour)).response).toStrictEqual(ALLOWED);
  });
});

// Over HTTP each of them has a status, which tells the same. These are the errors of a way to EC2 that gave none.
describe("without an HTTP status", () => {
  test.each([
    { name: "Throttling" },
    { name: "ThrottlingException" },
    { name: "RequestThrottled" },
    { name: "TooManyRequestsException" },
    { name: "RequestLimitExceeded" },
    { name: "BandwidthLimitExceeded" },
    { name: "SlowDown" },
    { name: "TimeoutError" },
    { code: "ECONNRESET" },
    { code: "ENOTFOUND" },
    { code: "EAI_AGAIN" },
    { code: "EPIPE" },
    { $metadata: { clockSkewCorrected: true } },
    { $response: { statusCode: 500 } },
    { $response: { statusCode: 429 } },
  ])("an error is tried again: %j", async (fields) => {
    const { response, at } = await login(30_000, (call) => (call === 1 ? fields : undefined));
    expect(response).toStrictEqual(ALLOWED);
    expect(at).toHaveLength(2);
    expect(terminated()).toStrictEqual(["older"]);
  });

  test.each([
    { name: "UnauthorizedOperation" },
    { name: "VolumeLimitExceeded" },
    { code: "ERR_INVALID_URL" },
    { code: "ERR_TLS_CERT_ALTNAME_INVALID" },
    { code: "CERT_HAS_EXPIRED" },
    { code: "UNABLE_TO_VERIFY_LEAF_SIGNATURE" },
    { $metadata: { clockSkewCorrected: false } },
    { $response: { statusCode: 404 } },
    {},
  ])("an error is final: %j", async (fields) => {
    const { response, at } = await login(30_000, () => fields);
    expect(response.allow).toBe(false);
    expect(at).toHaveLength(1);
  });
});
