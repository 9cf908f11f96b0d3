import { describe, expect, test, vi } from "vitest";
import { THROTTLED } from "../ec2/faults.ts";
import { ALLOWED } from "../helpers/answers.ts";
import { callsTo, useBuilt, useEc2 } from "../helpers/built.ts";
import { connectEvent } from "../helpers/events.ts";

const ec2 = useEc2();
const askHandler = useBuilt(ec2);

describe("sockets", () => {
  const ACTIONS = ["DescribeClientVpnConnections", "TerminateClientVpnConnections"] as const;
  const DEAD = ["hang", "stall", "drip"] as const;

  test("do not outlive their login, whatever becomes of its calls", async () => {
    for (const fault of [undefined, THROTTLED, ...DEAD]) {
      for (let i = 0; i < 3; i++) ec2.addConnection();
      if (fault) for (const action of ACTIONS) ec2.fail(action, fault);
      expect((await askHandler(connectEvent(), 5_000)).response).toStrictEqual(ALLOWED);
      await vi.waitFor(async () => expect(await ec2.openSockets()).toBe(0));
    }
  });

  test("that died while Lambda froze the process do not cost the next login", async () => {
    for (let i = 0; i < 10; i++) ec2.addConnection();
    expect((await askHandler(connectEvent())).entry.terminated).toHaveLength(10);
    ec2.killSockets();
    const { response, durationMs } = await askHandler(connectEvent(), 15_000);
    expect(response).toStrictEqual(ALLOWED);
    expect(durationMs).toBeLessThan(4_000);
  });

  test("come back from terminations that time out", async () => {
    for (let i = 0; i < 60; i++) ec2.addConnection();
    ec2.fail("TerminateClientVpnConnections", "hang", Number.POSITIVE_INFINITY);
    const answer = askHandler(connectEvent(), 5_000);
    let most = 0;
    const watch = setInterval(async () => {
      most = Math.max(most, await ec2.openSockets());
    }, 20);
    expect((await answer).response.allow).toBe(false);
    clearInterval(watch);
    expect(callsTo(ec2).length).toBeGreaterThan(31);
    expect(most).toBeGreaterThan(0);
    // Ten at once, and those that are being closed.
    expect(most).toBeLessThanOrEqual(20);
  });

  test("that are dead cost a second try, not the login", async () => {
    for (const fault of DEAD) {
      const ofUser = (params: URLSearchParams) => (params.get("Filter.1.Value.1") === fault ? fault : undefined);
      ec2.fail("DescribeClientVpnConnections", ofUser);
    }
    const logins = DEAD.map((username) => askHandler(connectEvent({ username }), 15_000));
    for (const { response, durationMs } of await Promise.all(logins)) {
      expect(response).toStrictEqual(ALLOWED);
      expect(durationMs).toBeGreaterThan(4_000);
      expect(durationMs).toBeLessThan(9_000);
    }
  });

  test.each(DEAD)("that are dead (%s) do not cost the login within 3 s either", async (fault) => {
    ec2.fail("DescribeClientVpnConnections", fault);
    expect((await askHandler(connectEvent(), 3_000)).response).toStrictEqual(ALLOWED);
  });

  test.each(DEAD)("that are dead (%s) do not cost a termination either", async (fault) => {
    const older = ec2.addConnection();
    ec2.fail("TerminateClientVpnConnections", fault);
    expect((await askHandler(connectEvent(), 3_000)).response).toStrictEqual(ALLOWED);
    expect(older.status).toBe("terminated");
  });
});
