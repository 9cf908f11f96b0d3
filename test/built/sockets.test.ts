import { describe, expect, test, vi } from "vitest";
import { THROTTLED } from "../ec2/faults.ts";
import { ALLOWED } from "../helpers/answers.ts";
import { callsTo, statuses, useBuilt, useEc2 } from "../helpers/built.ts";
import { connectEvent } from "../helpers/events.ts";

const ec2 = useEc2();
const { askHandler } = useBuilt(ec2);

describe("sockets", () => {
  const ACTIONS = ["DescribeClientVpnConnections", "TerminateClientVpnConnections"] as const;
  const DEAD = ["hang", "stall", "drip"] as const;

  /** Lambda freezes the process after a login, and a socket that it left open may be dead for the next one. */
  const areClosed = () => vi.waitFor(async () => expect(await ec2.openSockets()).toBe(0), { timeout: 10_000 });

  test.each([undefined, THROTTLED, ...DEAD])(
    "do not outlive their login, whatever becomes of its calls: %j",
    async (fault) => {
      const rows = [1, 2, 3].map(() => ec2.addConnection());
      if (fault) for (const action of ACTIONS) ec2.fail(action, fault);
      expect((await askHandler(connectEvent(), 8_000)).response).toStrictEqual(ALLOWED);
      expect(new Set(statuses(rows))).toStrictEqual(new Set(["terminated"]));
      await areClosed();
    },
  );

  test("come back from terminations that time out", async () => {
    for (let i = 0; i < 60; i++) ec2.addConnection();
    ec2.fail("TerminateClientVpnConnections", "hang", Number.POSITIVE_INFINITY);
    expect((await askHandler(connectEvent(), 5_000)).response.allow).toBe(false);
    // More than the first ten: what timed out was tried again.
    expect(callsTo(ec2).length).toBeGreaterThan(11);
    await areClosed();
  });

  test("that are dead cost a second call, not the login", async () => {
    for (const fault of DEAD) {
      ec2.addConnection({ username: fault });
      const ofUser = (params: URLSearchParams) => (params.get("Filter.1.Value.1") === fault ? fault : undefined);
      ec2.fail("DescribeClientVpnConnections", ofUser);
    }
    const logins = DEAD.map((username) => askHandler(connectEvent({ username }), 15_000));
    for (const { response } of await Promise.all(logins)) expect(response).toStrictEqual(ALLOWED);
    expect(callsTo(ec2).sort()).toStrictEqual([...Array(6).fill("Describe"), ...Array(3).fill("Terminate")]);
    expect(new Set(statuses(ec2.connections))).toStrictEqual(new Set(["terminated"]));
  });
});
