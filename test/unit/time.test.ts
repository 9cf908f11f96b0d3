import {
  type ClientVpnConnection,
  DescribeClientVpnConnectionsCommand,
  TerminateClientVpnConnectionsCommand,
} from "@aws-sdk/client-ec2";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { handler } from "../../src/handler.ts";
import { THROTTLED } from "../ec2/faults.ts";
import { ENDPOINT_ID } from "../ec2/server.ts";
import { ALLOWED, expectValidAnswer } from "../helpers/answers.ts";
import { contextOf, never, useClock } from "../helpers/clock.ts";
import { connectEvent } from "../helpers/events.ts";
import { ENDED, row, throttled, useMocks } from "../helpers/mocked.ts";

// Deadlines, waits and what lasts for minutes, exact to the millisecond.

vi.mock("node:timers/promises", () => import("../helpers/clock.ts"));

const { ec2, info, error, listed, terminated } = useMocks();
const timed = useClock();
const TIMED_OUT = { code: "TimeoutError", message: "no answer from EC2 in time" };

const random = vi.spyOn(Math, "random");

afterEach(() => {
  random.mockReset();
});

const later = <T>(ms: number, value: T) => new Promise<T>((resolve) => setTimeout(resolve, ms, value));
const throttling = () => ({ name: THROTTLED.code, message: THROTTLED.message });

/** Returns the one log entry, beside those of a sweep's users. */
function entryOf() {
  const entries = [...info.mock.calls, ...error.mock.calls].flat().map((line) => JSON.parse(line));
  const own = entries.filter(({ reason = "" }) => !reason.endsWith("by a sweep"));
  expect(own).toHaveLength(1);
  return own[0];
}

async function answer(remaining?: number) {
  const { settled, ms } = await timed(() => handler(connectEvent(), contextOf(remaining)));
  const response: unknown = settled.status === "fulfilled" ? settled.value : settled.reason;
  expectValidAnswer(response);
  return { response, ms };
}

async function login(remaining?: number) {
  return { ...(await answer(remaining)), entry: entryOf() };
}

async function sweep(remaining?: number) {
  const { settled, ms } = await timed(() => handler({ sweep: ENDPOINT_ID }, contextOf(remaining)));
  return { settled, ms, entry: entryOf() };
}

/** Asks the handler, and returns its answer and when it called EC2, in ms from the start. */
async function loginFailing(remaining: number, fail: (call: number) => object | undefined) {
  const startedAt = performance.now();
  const at: number[] = [];
  ec2.on(DescribeClientVpnConnectionsCommand).callsFake(async () => {
    at.push(performance.now() - startedAt);
    const fields = fail(at.length);
    if (fields) throw Object.assign(new Error("no"), fields);
    return { Connections: [row("older")] };
  });
  const { response } = await answer(remaining);
  const gaps = at.slice(1).map((ms, i) => ms - (at[i] ?? 0));
  return { response, at, gaps };
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
    // EC2 never throttled a termination: who reads the code would ask for a higher rate of them.
    expect(entry.errors[0]).toMatchObject({ connectionId: expect.any(String), ...TIMED_OUT });
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
    random.mockReturnValue(1);
    const { response, entry } = await login(remaining);
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

test.each([
  ["login", login],
  ["sweep", sweep],
])("a %s without time for a termination says in the message, and not as its code, what took it", async (_, invoke) => {
  // The last call is made where there is just time for it, and is answered when there is none for another.
  const startedAt = performance.now();
  const isLast = () => performance.now() >= startedAt + 28_890;
  ec2
    .on(DescribeClientVpnConnectionsCommand)
    .callsFake(() => (isLast() ? later(10, { Connections: rows(2) }) : throttled()));
  random.mockReturnValue(1);
  const { entry } = await invoke();
  expect(terminated()).toStrictEqual([]);
  const message = "no time left to call EC2, after an earlier call met RequestLimitExceeded: Request limit exceeded.";
  expect(entry.errors).toContainEqual(expect.objectContaining({ code: "DeadlineExceeded", message }));
  expect(entry.errors).not.toContainEqual(expect.objectContaining({ code: "RequestLimitExceeded" }));
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
      const { gaps } = await loginFailing(30_000, reset);
      const longest = [250, 500, 1_000, 2_000, 4_000, 8_000];
      expect(gaps.slice(0, 6)).toStrictEqual(longest.map((ms) => Math.trunc(ms * share)));
    },
  );

  test.each(CHANCES)(
    "3 s after EC2 throttled, then 6 s, and 8 s at the most; by chance, %s",
    async (_, chance, share) => {
      random.mockReturnValue(chance);
      const { gaps } = await loginFailing(30_000, throttling);
      expect(gaps.slice(0, 3)).toStrictEqual([3_000, 6_000, 8_000].map((ms) => ms * share));
    },
  );

  test("little again where a connection is lost after EC2 throttled", async () => {
    random.mockReturnValue(1);
    const { gaps } = await loginFailing(30_000, (call) => [throttling(), reset()][call - 1]);
    expect(gaps).toStrictEqual([3_000, 500]);
  });

  test("another time each time", async () => {
    random.mockReturnValueOnce(0).mockReturnValueOnce(1);
    const { gaps } = await loginFailing(30_000, (call) => (call <= 2 ? throttling() : undefined));
    expect(gaps).toStrictEqual([750, 6_000]);
  });

  test.each([0, 1])("so little at the end that its last call still has the time for an answer: %d", async (chance) => {
    random.mockReturnValue(chance);
    const { response, at } = await loginFailing(30_000, throttling);
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
    expect((await loginFailing(3_000, firstFour)).response).toStrictEqual(ALLOWED);
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
    const { response, at } = await loginFailing(30_000, (call) => (call === 1 ? fields : undefined));
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
    const { response, at } = await loginFailing(30_000, () => fields);
    expect(response.allow).toBe(false);
    expect(at).toHaveLength(1);
  });
});

describe("whoever was refused for too many new connections", () => {
  const MS = 3_000;
  // Each test has users of its own: what one remembers is there in the next.
  let username = "";
  beforeEach(({ task }) => {
    username = `user of ${task.id}`;
    ec2.on(DescribeClientVpnConnectionsCommand).callsFake(({ Filters: [{ Values }] }) => {
      const ConnectionEstablishedTime = new Date().toISOString().slice(0, 19).replace("T", " ");
      const fields = { Username: Values[0], ConnectionEstablishedTime, Status: { Code: "terminated" as const } };
      return { Connections: Array.from({ length: 7 }, (_, i) => row(`new-${i}`, fields)) };
    });
  });

  const lookUps = () => ec2.commandCalls(DescribeClientVpnConnectionsCommand).length;
  async function isAsked(user = username): Promise<boolean> {
    const before = lookUps();
    const response: unknown = await handler(connectEvent({ username: user }));
    expectValidAnswer(response);
    expect(response.allow).toBe(false);
    return lookUps() > before;
  }

  test("is refused for 3 s without a look-up, and then looked up again", async () => {
    expect(await isAsked()).toBe(true);
    vi.advanceTimersByTime(MS - 1);
    expect(await isAsked()).toBe(false);
    vi.advanceTimersByTime(1);
    expect(await isAsked()).toBe(true);
  });

  test("is looked up every 3 s, however often they try: a refusal from memory is not a new one", async () => {
    for (let tries = 0; tries < 90; tries++) {
      await isAsked();
      vi.advanceTimersByTime(100);
    }
    expect(lookUps()).toBe(3);
  });

  test.each([3_600_000, -3_600_000])("is looked up where the clock was set %d ms on", async (ms) => {
    await isAsked();
    vi.setSystemTime(Date.now() + ms);
    expect(await isAsked()).toBe(true);
  });

  test("is forgotten first where 101 were refused within 3 s, and the other hundred are not", async () => {
    const users = Array.from({ length: 101 }, (_, i) => `${username}, ${i}`);
    for (const user of users) expect(await isAsked(user)).toBe(true);
    const [first, ...others] = users;
    for (const user of others) expect(await isAsked(user)).toBe(false);
    expect(await isAsked(first)).toBe(true);
  });

  test("is no longer the oldest when they were refused once more", async () => {
    await isAsked();
    const others = Array.from({ length: 100 }, (_, i) => `${username}, ${i}`);
    for (const user of others.slice(0, 99)) await isAsked(user);
    vi.advanceTimersByTime(MS);
    expect(await isAsked()).toBe(true);
    expect(await isAsked(others[99])).toBe(true);
    expect(await isAsked()).toBe(false);
  });
});

const LATENCY_MS = 100;
const APART_MS = 50;
const MINUTES = 20;

test("somebody who hammers with the password at the start of each minute holds the account for a fifth of the time", async () => {
  const rows: ClientVpnConnection[] = [];
  const later = (answer: () => object) =>
    new Promise((resolve) => setTimeout(() => resolve(answer()), LATENCY_MS * (0.7 + 0.6 * Math.random())));
  ec2.on(DescribeClientVpnConnectionsCommand).callsFake(() => later(() => ({ Connections: [...rows] })));
  ec2.on(TerminateClientVpnConnectionsCommand).callsFake(({ ConnectionId }) =>
    later(() => {
      for (const one of rows) if (one.ConnectionId === ConnectionId) one.Status = { Code: "terminated" };
      return ENDED;
    }),
  );
  let denied = 0;
  const connect = async (): Promise<ClientVpnConnection | undefined> => {
    const id = `connection-${Math.random()}`;
    const response: unknown = await handler(connectEvent({ "connection-id": id }));
    expectValidAnswer(response);
    const ConnectionEstablishedTime = new Date().toISOString().slice(0, 19).replace("T", " ");
    if (response.allow) rows.push(row(id, { ConnectionEstablishedTime }));
    return response.allow ? rows.at(-1) : undefined;
  };

  let ofOwner: ClientVpnConnection | undefined;
  let isTrying = false;
  const tryAsOwner = async () => {
    isTrying = true;
    ofOwner = await connect();
    if (ofOwner === undefined) denied++;
    isTrying = false;
  };
  let seconds = 0;
  for (let second = 0; second < MINUTES * 60; second++) {
    if (second % 60 === 0) for (let attempt = 0; attempt < 30; attempt++) setTimeout(connect, attempt * APART_MS);
    const isConnected = ofOwner?.Status?.Code === "active";
    if (isConnected) seconds++;
    // She notices, and tries again every five seconds.
    else if (second % 5 === 4 && !isTrying) tryAsOwner();
    await vi.advanceTimersByTimeAsync(1_000);
  }
  expect(seconds).toBeGreaterThan(MINUTES * 45);
  expect(denied).toBeLessThan(MINUTES * 3);
});

// Loads the handler anew, so that nothing after it would meet the mocks.
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
