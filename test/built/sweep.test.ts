import { describe, expect, test } from "vitest";
import type { Connection } from "../ec2/connection.ts";
import { REFUSED, THROTTLED } from "../ec2/faults.ts";
import { ENDPOINT_ID } from "../ec2/server.ts";
import { ALLOWED } from "../helpers/answers.ts";
import { statuses, useEc2 } from "../helpers/built.ts";
import { connectEvent } from "../helpers/events.ts";
import { useSweeps } from "../helpers/sweeps.ts";

// The sweep of the built file, in a process of its own, over HTTP.

const ec2 = useEc2();
const { lambda, lambdaWith, addConnectionOf, sweep, failingSweep } = useSweeps(ec2);

/** What a sweep returns that left nothing open. */
function swept(active: number, ...terminated: (string | undefined)[]) {
  return { "endpoint-id": ENDPOINT_ID, active, unnamed: 0, terminated };
}

describe("a sweep", () => {
  test("keeps the newest connection of each user, ends the others, and says so", async () => {
    const rows = [
      addConnectionOf("alice", 20),
      addConnectionOf("alice", 10),
      addConnectionOf("alice", 30),
      addConnectionOf("bob", 40),
    ];
    const { result } = await sweep();
    expect(statuses(rows)).toStrictEqual(["terminated", "active", "terminated", "active"]);
    const terminated = expect.arrayContaining([rows[0]?.connectionId, rows[2]?.connectionId]);
    expect(result).toStrictEqual({ ...swept(4), terminated });
    expect(result.terminated).toHaveLength(2);
  });

  test("ends the oldest first, so that those it has no time for are not the same each time", async () => {
    const ids = Array.from({ length: 60 }, (_, i) => addConnectionOf(`user-${i % 20}`, i).connectionId);
    await sweep();
    const ended = ec2.requests.slice(1).map(({ params }) => ids.indexOf(String(params.get("ConnectionId"))));
    expect(ended).toHaveLength(40);
    // Ten are on their way at once, and may overtake each other.
    for (const [place, age] of ended.entries()) expect(Math.abs(59 - age - place)).toBeLessThan(10);
  });

  test("ends nobody the second time", async () => {
    for (let i = 0; i < 3; i++) addConnectionOf("alice", i);
    await sweep();
    const { result } = await sweep();
    expect(result).toStrictEqual(swept(1));
  });

  test("heals what five connects at once have left, and only one is left", async () => {
    const rows = Array.from({ length: 5 }, (_, i) => `cvpn-connection-of-the-race-${i}`);
    const answers = await Promise.all(rows.map((id) => lambda().invoke(connectEvent({ "connection-id": id }))));
    for (const { response } of answers) expect(response).toStrictEqual(ALLOWED);
    for (const connectionId of rows) addConnectionOf("alice", 0, { connectionId });
    expect((await sweep()).result.terminated).toHaveLength(4);
    expect(statuses(ec2.connections).filter((status) => status === "active")).toHaveLength(1);
    expect((await sweep()).result.terminated).toHaveLength(0);
  });

  test.each(["123", "132", "213", "231", "312", "321"])(
    "keeps the same one of a second, also in the order %s",
    async (ids) => {
      const establishedAt = new Date(1_700_000_000_000);
      for (const id of ids) addConnectionOf("alice", 0, { connectionId: `cvpn-connection-${id}`, establishedAt });
      await sweep();
      const kept = ec2.connections.filter(({ status }) => status === "active");
      expect(kept.map(({ connectionId }) => connectionId)).toStrictEqual(["cvpn-connection-1"]);
    },
  );

  test("reads all pages of 2,500 rows, and compares connections of different pages", async () => {
    const first = addConnectionOf("alice", 60);
    for (let i = 0; i < 2_498; i++) addConnectionOf(`user-${i}`, 30);
    const last = addConnectionOf("alice", 10);
    const { result } = await sweep();
    expect(result).toStrictEqual(swept(2_500, first.connectionId));
    expect(last.status).toBe("active");
    const pages = ec2.requests.filter(({ action }) => action === "DescribeClientVpnConnections");
    expect(pages.map(({ params }) => params.get("MaxResults"))).toStrictEqual(["1000", "1000", "1000"]);
  });

  test("never touches a connection without a user name, but counts it", async () => {
    const rows = [
      addConnectionOf("", 10),
      addConnectionOf("", 20),
      addConnectionOf(undefined, 30),
      addConnectionOf(undefined, 40),
    ];
    addConnectionOf("", 5, { status: "terminated" });
    addConnectionOf("alice", 10);
    expect((await sweep()).result).toStrictEqual({ ...swept(5), unnamed: 4 });
    expect(statuses(rows)).toStrictEqual(["active", "active", "active", "active"]);
  });

  test.each<[string, Partial<Connection>]>([
    ["a status that AWS does not document", { status: "suspended" }],
    ["no status", { status: "" }],
    ["no time", { establishedAt: "" }],
    ["a time that is none", { establishedAt: "-" }],
  ])("neither ends a connection with %s nor takes it for a reason to end another", async (_, odd) => {
    const alices = [addConnectionOf("alice", 30), addConnectionOf("alice", 10, odd)];
    const bobs = [addConnectionOf("bob", 10), addConnectionOf("bob", 30, odd)];
    expect((await sweep()).result).toStrictEqual(swept(4));
    expect(ec2.requests).toHaveLength(1);
    expect(statuses([...alices, ...bobs])).not.toContain("terminated");
  });

  test("takes a connection that failed to terminate for one that is there, as an older and as a newer one", async () => {
    const alices = [addConnectionOf("alice", 20, { status: "failed-to-terminate" }), addConnectionOf("alice", 10)];
    const bobs = [addConnectionOf("bob", 20), addConnectionOf("bob", 10, { status: "failed-to-terminate" })];
    const { result } = await sweep();
    expect(new Set(result.terminated)).toStrictEqual(new Set([alices[0]?.connectionId, bobs[0]?.connectionId]));
    expect(statuses([...alices, ...bobs])).toStrictEqual(["terminated", "active", "terminated", "failed-to-terminate"]);
  });

  test("counts a connection that EC2 lists twice once, and one that has ended not at all", async () => {
    const row = addConnectionOf("alice", 10);
    addConnectionOf("alice", 5, { status: "terminated" });
    addConnectionOf("alice", 5, { status: "terminating" });
    ec2.fail("DescribeClientVpnConnections", "duplicates");
    expect((await sweep()).result).toStrictEqual(swept(1));
    expect(row.status).toBe("active");
  });

  test("takes user names as they are: letter case, wildcards, names of JavaScript", async () => {
    const names = ["alice", "Alice", "*", "a?ice", "\\", "__proto__", "constructor", "toString"];
    for (const name of names) for (const secondsAgo of [10, 20]) addConnectionOf(name, secondsAgo);
    const { result } = await sweep();
    expect(result.terminated).toHaveLength(names.length);
    for (const name of names) {
      const own = ec2.connections.filter(({ username }) => username === name);
      expect(statuses(own)).toStrictEqual(["active", "terminated"]);
    }
  });

  test("keeps as many as MAX_CONNECTIONS_PER_USER", async () => {
    const rows = [
      addConnectionOf("alice", 40),
      addConnectionOf("alice", 10),
      addConnectionOf("alice", 20),
      addConnectionOf("alice", 30),
    ];
    await sweep(await lambdaWith({ MAX_CONNECTIONS_PER_USER: "3" }));
    expect(statuses(rows)).toStrictEqual(["terminated", "active", "active", "active"]);
  });

  test("takes spellings of a name for one user's with IGNORE_USERNAME_CASE", async () => {
    const rows = [
      addConnectionOf("alice", 20),
      addConnectionOf("ALICE", 10),
      addConnectionOf("Alice", 30),
      addConnectionOf("bob", 40),
    ];
    const { users } = await sweep(await lambdaWith({ IGNORE_USERNAME_CASE: "true" }), () => "alice");
    expect(statuses(rows)).toStrictEqual(["terminated", "active", "terminated", "active"]);
    expect(users).toHaveLength(1);
  });

  test("ends nobody with DRY_RUN, and logs whom it would have ended", async () => {
    const rows = [addConnectionOf("alice", 20), addConnectionOf("alice", 10)];
    const { result, entry, users } = await sweep(await lambdaWith({ DRY_RUN: "true" }));
    expect(result).toStrictEqual(swept(2));
    expect(entry.dryRun).toStrictEqual({ terminated: [rows[0]?.connectionId], terminatedCount: 1 });
    expect(users).toStrictEqual([["alice", [rows[0]?.connectionId]]]);
    expect(statuses(rows)).toStrictEqual(["active", "active"]);
  });

  test("compares common names with IDENTITY=common-name, whatever the user names are", async () => {
    const [laptop, phone] = ["laptop", "phone"].map((commonName, i) =>
      addConnectionOf("alice", 20 + i, { commonName }),
    );
    const newer = addConnectionOf(undefined, 10, { commonName: "laptop" });
    const unnamed = addConnectionOf("alice", 5, { commonName: undefined });
    const { result } = await sweep(await lambdaWith({ IDENTITY: "common-name" }), () => "laptop");
    expect(result).toStrictEqual({ ...swept(4, laptop?.connectionId), unnamed: 1 });
    expect(statuses([newer, unnamed, ...(phone ? [phone] : [])])).toStrictEqual(["active", "active", "active"]);
  });

  test("outlasts throttling", async () => {
    const rows = [addConnectionOf("alice", 20), addConnectionOf("alice", 10)];
    ec2.fail("DescribeClientVpnConnections", THROTTLED, 2);
    ec2.fail("TerminateClientVpnConnections", THROTTLED, 2);
    expect((await sweep()).result.terminated).toStrictEqual([rows[0]?.connectionId]);
  });
});

describe("a sweep that cannot be completed does the rest, and then throws", () => {
  test("when one of many cannot be ended", async () => {
    const rows = Array.from({ length: 30 }, (_, i) => addConnectionOf("alice", i));
    const stays = rows[12];
    ec2.fail("TerminateClientVpnConnections", (params) =>
      params.get("ConnectionId") === stays?.connectionId ? "failed-to-terminate" : undefined,
    );
    const { message, entry, users } = await failingSweep();
    expect(message).toContain("failed-to-terminate");
    expect(users).toStrictEqual([["alice", entry.terminated]]);
    expect(entry).toMatchObject({
      endpointId: ENDPOINT_ID,
      active: 30,
      notTerminated: [stays?.connectionId],
      errors: [{ connectionId: stays?.connectionId, code: "failed-to-terminate" }],
    });
    expect(entry.terminated).toHaveLength(28);
    expect(statuses(ec2.connections).filter((status) => status === "terminated")).toHaveLength(28);
  });

  test("when a page cannot be read: those that are too old among the others are ended", async () => {
    ec2.pageSize = 5;
    const rows = [addConnectionOf("alice", 30), addConnectionOf("alice", 20)];
    for (let i = 0; i < 20; i++) addConnectionOf(`user-${i}`, 10);
    const newest = addConnectionOf("alice", 0);
    ec2.fail("DescribeClientVpnConnections", (params) => (params.has("NextToken") ? REFUSED : undefined));
    const { message, entry } = await failingSweep();
    expect(message).toContain("UnauthorizedOperation");
    expect(entry).toMatchObject({ active: 5, terminated: [rows[0]?.connectionId] });
    expect(statuses([...rows, newest])).toStrictEqual(["terminated", "active", "active"]);
  });

  test("when nothing can be read", async () => {
    addConnectionOf("alice", 10);
    ec2.fail("DescribeClientVpnConnections", REFUSED);
    const { entry } = await failingSweep();
    expect(entry).toMatchObject({ active: 0, terminated: [], errors: [{ code: "UnauthorizedOperation" }] });
  });

  test("when EC2 hangs, before the function's time is over", async () => {
    addConnectionOf("alice", 10);
    ec2.fail("DescribeClientVpnConnections", "hang", Number.POSITIVE_INFINITY);
    const { entry, durationMs } = await failingSweep(2_000);
    expect(durationMs).toBeLessThan(1_500);
    expect(entry.errors).toStrictEqual([
      { code: "TimeoutError", message: "no answer from EC2 in time" },
      {
        code: "DeadlineExceeded",
        message: "no time left to call EC2, after an earlier call met TimeoutError: no answer from EC2 in time",
      },
    ]);
  });

  test("when terminations hang, before the function's time is over, and logs which", async () => {
    const rows = [addConnectionOf("alice", 20), addConnectionOf("alice", 10)];
    ec2.fail("TerminateClientVpnConnections", "hang", Number.POSITIVE_INFINITY);
    const { entry, durationMs } = await failingSweep(5_000);
    expect(durationMs).toBeLessThan(4_500);
    expect(entry.notTerminated).toStrictEqual([rows[0]?.connectionId]);
  });

  test("in a dry run too", async () => {
    const rows = [addConnectionOf("alice", 20), addConnectionOf("alice", 10)];
    ec2.pageSize = 2;
    addConnectionOf("bob", 10);
    ec2.fail("DescribeClientVpnConnections", (params) => (params.has("NextToken") ? REFUSED : undefined));
    const { message, entry } = await failingSweep(60_000, undefined, await lambdaWith({ DRY_RUN: "true" }));
    expect(message).toContain("UnauthorizedOperation");
    expect(entry).toMatchObject({
      active: 2,
      terminated: [],
      errors: [{ code: "UnauthorizedOperation" }],
      dryRun: { terminated: [rows[0]?.connectionId] },
    });
    expect(statuses(rows)).toStrictEqual(["active", "active"]);
  });

  test("when a connection has no id: it may be one that EC2 lists elsewhere with its id, and does not count", async () => {
    ec2.pageSize = 2;
    const rows = [
      addConnectionOf("alice", 10),
      addConnectionOf("bob", 10),
      addConnectionOf("bob", 20),
      addConnectionOf("carol", 10),
    ];
    ec2.fail("DescribeClientVpnConnections", "same-token");
    ec2.fail("DescribeClientVpnConnections", "without connectionId");
    const { entry } = await failingSweep();
    expect(entry).toMatchObject({
      active: 4,
      terminated: [rows[2]?.connectionId],
      errors: [1, 2].map(() => ({ code: "UnexpectedAnswer", message: "EC2 gave a connection without its id" })),
    });
    expect(statuses(rows)).toStrictEqual(["active", "active", "terminated", "active"]);
  });
});
