import { describe, expect, onTestFinished, test, vi } from "vitest";
import { selfSigned } from "../ec2/certificate.ts";
import { type Fault, THROTTLED } from "../ec2/faults.ts";
import { LoopbackEc2 } from "../ec2/server.ts";
import { ALLOWED } from "../helpers/answers.ts";
import { builtForTest, callsTo, statuses, useBuilt, useEc2 } from "../helpers/built.ts";
import { connectEvent } from "../helpers/events.ts";

const ec2 = useEc2();
const { askHandler } = useBuilt(ec2);

describe("sockets", () => {
  const DEAD = ["hang", "stall", "drip"] as const;

  /** Lambda freezes the process after a login, and a socket that it left open may be dead for the next one. */
  const areClosed = (to = ec2) => vi.waitFor(async () => expect(await to.openSockets()).toBe(0), { timeout: 10_000 });

  test("do not outlive their logins, whatever becomes of the calls", async () => {
    const faults: Record<string, Fault | undefined> = { served: undefined, throttled: THROTTLED };
    for (const fault of DEAD) faults[fault] = fault;
    // All of them at once, as each waits for seconds.
    const logins = Object.entries(faults).map(([username, fault]) => {
      const ids = new Set([1, 2, 3].map(() => ec2.addConnection({ username }).connectionId));
      const ofUser = (params: URLSearchParams) => params.get("Filter.1.Value.1") === username;
      const ofRows = (params: URLSearchParams) => ids.has(String(params.get("ConnectionId")));
      ec2.fail("DescribeClientVpnConnections", (params) => (ofUser(params) ? fault : undefined));
      ec2.fail("TerminateClientVpnConnections", (params) => (ofRows(params) ? fault : undefined));
      return askHandler(connectEvent({ username }), 8_000);
    });
    for (const { response, entry } of await Promise.all(logins)) {
      expect(response, String(entry.user)).toStrictEqual(ALLOWED);
    }
    expect(new Set(statuses(ec2.connections))).toStrictEqual(new Set(["terminated"]));
    await areClosed();
  });

  test("of HTTPS, which EC2 speaks, do not outlive their login either", async () => {
    const tls = await new LoopbackEc2(selfSigned()).start();
    onTestFinished(() => tls.close());
    const older = tls.addConnection();
    // Nobody that Node.js knows has signed the certificate, and it would warn of that.
    const lambda = await builtForTest({ ...tls.env, NODE_TLS_REJECT_UNAUTHORIZED: "0", NODE_NO_WARNINGS: "1" });
    expect((await lambda.invoke(connectEvent())).response).toStrictEqual(ALLOWED);
    expect(older.status).toBe("terminated");
    await areClosed(tls);
  });

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
