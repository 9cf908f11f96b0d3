import { describe, expect, test, vi } from "vitest";
import { type Action, type Fault, THROTTLED } from "../ec2/faults.ts";
import { ENDPOINT_ID } from "../ec2/server.ts";
import { ALLOWED, checkSweepLog, entryOfTerminated } from "../helpers/answers.ts";
import { BUILT, sweepThatThrows, useBuilt, useEc2 } from "../helpers/built.ts";
import { CONNECTION_ID, connectEvent } from "../helpers/events.ts";

// One entry point for logins and sweeps, and one process for both, as the schedule keeps it warm for the next login.

const ALWAYS = Number.POSITIVE_INFINITY;
const SWEEP = { sweep: ENDPOINT_ID };
/** As many as fit on a page with the rest: what changes between two pages of a list is seen twice or not at all. */
const OTHERS = 900;

describe.each(BUILT)("dist/%s", (file) => {
  const ec2 = useEc2();
  const { askHandler, lambda } = useBuilt(ec2, file);
  const hour = (number: number) => new Date(Date.UTC(2026, 0, 1, number));

  /** Alice has one connection; bob has one too many; and there are others. */
  function connect(): void {
    ec2.addConnection({ connectionId: "alice-1", establishedAt: hour(1) });
    ec2.addConnection({ connectionId: "bob-1", username: "bob", establishedAt: hour(1) });
    ec2.addConnection({ connectionId: "bob-2", username: "bob", establishedAt: hour(2) });
    for (let i = 0; i < OTHERS; i++) ec2.addConnection({ username: `user-${i}` });
    // As the login goes on to be, so that a sweep finds one connection of alice's before and after it.
    ec2.fail("TerminateClientVpnConnections", (params) => {
      if (params.get("ConnectionId") === "alice-1") ec2.addConnection({ connectionId: CONNECTION_ID });
      return undefined;
    });
  }

  function callsOf(invocation: "login" | "sweep"): string[] {
    const user = invocation === "login" ? "alice" : "bob";
    return ec2.requests.flatMap(({ action, params }) => {
      const name = params.get("Filter.1.Value.1");
      if (action === "DescribeClientVpnConnections") {
        return (name === null) === (invocation === "sweep") ? [`Describe ${name ?? "all"}`] : [];
      }
      const id = String(params.get("ConnectionId"));
      return id.startsWith(user) ? [`Terminate ${id}`] : [];
    });
  }

  async function login() {
    const { response, entry } = await askHandler(connectEvent());
    expect(response).toStrictEqual(ALLOWED);
    expect(entry).toStrictEqual({ ...entryOfTerminated("alice-1"), durationMs: expect.any(Number) });
    expect(callsOf("login")).toStrictEqual(["Describe alice", "Terminate alice-1"]);
  }

  async function sweep() {
    const { response, log } = await lambda().sweep(SWEEP);
    const found = { active: OTHERS + 3, unnamed: 0 };
    expect(response).toStrictEqual({ "endpoint-id": ENDPOINT_ID, ...found, terminated: ["bob-1"] });
    const { entry, level, users } = checkSweepLog(log);
    expect(level).toBe("info");
    expect(users).toStrictEqual([["bob", ["bob-1"]]]);
    expect(entry).toStrictEqual({
      endpointId: ENDPOINT_ID,
      ...found,
      terminated: ["bob-1"],
      terminatedCount: 1,
      notTerminated: [],
      notTerminatedCount: 0,
      errors: [],
      errorCount: 0,
      durationMs: expect.any(Number),
    });
    expect(callsOf("sweep")).toStrictEqual(["Describe all", "Terminate bob-1"]);
  }

  test.each<[string, () => Promise<unknown>]>([
    ["a login alone", login],
    ["a sweep alone", sweep],
    ["a login after a sweep", () => sweep().then(login)],
    ["a login before a sweep", () => login().then(sweep)],
    ["a login beside a sweep", () => Promise.all([sweep(), login()])],
    ["a sweep beside a login", () => Promise.all([login(), sweep()])],
  ])("%s has its answer, its calls and its log entry", async (_, invocations) => {
    connect();
    await invocations();
  });

  // The rest is the handler's own, whatever SDK is in it or beside it.
  if (file !== "index.cjs") return;

  test.each<[string, Action, Fault]>([
    ["hangs in the list", "DescribeClientVpnConnections", "hang"],
    ["throttles the list", "DescribeClientVpnConnections", THROTTLED],
    ["always has one more page", "DescribeClientVpnConnections", "endless"],
    ["hangs in the terminations", "TerminateClientVpnConnections", "hang"],
  ])("a sweep during which EC2 %s until its time is over costs no login anything", async (_, action, fault) => {
    connect();
    const isOfSweep = (params: URLSearchParams) =>
      !params.has("Filter.1.Name") && params.get("ConnectionId") !== "alice-1";
    ec2.fail(action, (params) => (isOfSweep(params) ? fault : undefined), ALWAYS);
    const failing = sweepThatThrows(lambda(), SWEEP, { remaining: 3_000 });
    const isUnderWay = () => ec2.requests.some((request) => request.action === action);
    await vi.waitFor(() => expect(isUnderWay()).toBe(true), { timeout: 10_000 });
    await login();
    expect((await failing).message).toContain("IncompleteSweep");
    // Nor the next one.
    expect((await askHandler(connectEvent({ username: "carol" }))).response).toStrictEqual(ALLOWED);
    expect(ec2.requests.filter(({ params }) => params.get("Filter.1.Value.1") === "carol")).toHaveLength(1);
  });

  test.each<[string, unknown]>([
    ["an empty object", {}],
    ["null", null],
    ["nothing", undefined],
    ["an empty array", []],
    ["an array of a sweep", [SWEEP]],
    ["an array with a field", Object.assign([], SWEEP)],
    ["a text", JSON.stringify(SWEEP)],
    ["a sweep behind __proto__", JSON.parse(`{"__proto__": ${JSON.stringify(SWEEP)}}`)],
    ["a sweep of another spelling", { Sweep: ENDPOINT_ID }],
    ["a sweep that is wrapped", { input: SWEEP }],
  ])("takes %s for a login, and denies it without a call", async (_, event) => {
    connect();
    expect((await askHandler(event)).response.allow).toBe(false);
    expect(ec2.requests).toHaveLength(0);
  });

  test("takes an event with the field sweep for a sweep, whatever else it has", async () => {
    connect();
    const { response } = await lambda().sweep({ ...connectEvent(), ...SWEEP });
    expect(response).toStrictEqual({
      "endpoint-id": ENDPOINT_ID,
      active: OTHERS + 3,
      unnamed: 0,
      terminated: ["bob-1"],
    });
    expect(callsOf("login")).toStrictEqual([]);
  });

  test.each<[string, unknown]>([
    ["nothing", undefined],
    ["null", null],
    ["an empty text", ""],
    ["a number", 7],
    ["a list", [ENDPOINT_ID]],
    ["what a schedule gives by default", { "detail-type": "Scheduled Event", resources: [] }],
  ])("a sweep of %s throws before any call, and says so", async (_, endpoint) => {
    connect();
    for (const event of [{ sweep: endpoint }, { ...connectEvent(), sweep: endpoint }]) {
      const { message, invocation } = await sweepThatThrows(lambda(), event, { remaining: 30_000 });
      expect(message).toContain("invalid input: sweep: expected a non-empty string, got ");
      expect(invocation.log).toStrictEqual([]);
    }
    expect(ec2.requests).toHaveLength(0);
  });
});
