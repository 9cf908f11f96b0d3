import assert from "node:assert/strict";
import fc from "fast-check";
import { beforeEach, describe, expect, test } from "vitest";
import type { Connection } from "../ec2/connection.ts";
import { REFUSED } from "../ec2/faults.ts";
import { ALLOWED } from "../helpers/answers.ts";
import { callsTo, statuses, useEc2 } from "../helpers/built.ts";
import { CONNECTION_ID, connectEvent } from "../helpers/events.ts";
import { type Identity, keptAs, loggedAs } from "../helpers/kept.ts";
import { useSweeps } from "../helpers/sweeps.ts";

// KEEP_NAMES and CHECK_LOGINS, where EC2 lists no names and finds nobody by them, if a test says nothing else.

const ec2 = useEc2();
const { lambdaWith, logInWith, askHandlerWith, addConnectionOf, sweep } = useSweeps(ec2);
beforeEach(() => {
  ec2.hidden.add("username").add("commonName");
});

const KEEP = { KEEP_NAMES: "true" };
const NOTE = { KEEP_NAMES: "true", CHECK_LOGINS: "false" };
const AMONG_NAMED = "no older connections among those with a name";
const SHA256_PREFIX = "vpn-session-handler.username-sha256.";

const NAMES = [
  "alice",
  "alice@corp.example",
  "Zoë",
  "李小龍",
  'o\'neil <x>&"y"',
  "a,b;c",
  "100%",
  "%41lice",
  "user=bob",
  "👩‍👩‍👧",
  "CORP\\alice",
  " alice ",
  "a\r\n\tb",
  "\0",
  "\ufeffalice",
  "\ufffd",
  "*",
  "__proto__",
  "vpn-session-handler.username.alice",
  `${SHA256_PREFIX}${"0".repeat(64)}`,
  "a".repeat(226),
  "a".repeat(227),
  "a".repeat(255),
  `${"a".repeat(254)}b`,
  "李".repeat(25),
  "李".repeat(26),
  "李".repeat(255),
  `${"李".repeat(254)}小`,
  "😀".repeat(127),
];

/** Asks with settings that need no EC2, as of a login there is no more to see than its answer. */
async function statusesOf(username: string, settings: Record<string, string> = NOTE): Promise<string[]> {
  const { response } = await askHandlerWith(settings, connectEvent({ username }));
  expect(response.allow).toBe(true);
  return response["posture-compliance-statuses"];
}

/** Adds a connection of which EC2 lists nothing but these statuses, and perhaps more. */
function addKept(
  secondsAgo: number,
  postureComplianceStatuses: string[] | undefined,
  fields: Partial<Connection> = {},
) {
  return addConnectionOf("somebody", secondsAgo, { commonName: undefined, ...fields, postureComplianceStatuses });
}

describe("a name", () => {
  test.each(NAMES)("comes back as it was: %j", async (username) => {
    const logins = [await logInWith(KEEP, { username }), await logInWith(KEEP, { username })];
    expect(logins[0]?.response).toStrictEqual({ ...ALLOWED, "posture-compliance-statuses": [keptAs(username)] });
    expect(logins[1]?.entry).toMatchObject({
      reason: "older connections terminated",
      terminated: [logins[0]?.connection?.connectionId],
      unnamed: 0,
      user: loggedAs(username),
    });
  });

  test("is nobody else's: each of these users has a connection of its own", async () => {
    for (const username of NAMES) {
      const { entry } = await logInWith(KEEP, { username });
      expect(entry).toMatchObject({ reason: "no older connections", unnamed: 0 });
    }
    expect((await sweep(await lambdaWith(KEEP))).result).toMatchObject({
      active: NAMES.length,
      unnamed: 0,
      terminated: [],
    });
  });

  test("is kept in at most 255 letters, digits and few marks, and two names never as one", async () => {
    const aName = fc.oneof(
      fc.string({ unit: "grapheme", minLength: 1, maxLength: 80 }),
      fc.string({ unit: fc.constantFrom("%", "4", "1", "a", "A", "é", ".", "_", "-", "\\", "李"), minLength: 1 }),
      fc.tuple(fc.constantFrom(...NAMES), fc.constantFrom("", "a", "%", "0")).map((parts) => parts.join("")),
      fc.string({ unit: fc.constantFrom("a", "b"), minLength: 224, maxLength: 255 }),
    );
    const nameOf = new Map<string, string>();
    const property = fc.asyncProperty(aName, async (name) => {
      const [status = "", ...others] = await statusesOf(name);
      assert.deepEqual(others, []);
      if (["-", "N/A", "NA"].includes(name)) return assert.equal(status, "");
      assert.match(status, /^[\w.%-]{30,255}$/);
      assert.equal(nameOf.get(status) ?? name, name);
      nameOf.set(status, name);
    });
    await fc.assert(property, { numRuns: 400, seed: 20_261_129 });
  });

  test.each(["", null, undefined, "-", "N/A", "NA"])(
    "that is none is not kept, nor is EC2 asked: %j",
    async (username) => {
      const { response, entry, connection } = await logInWith(KEEP, { username });
      expect(response).toStrictEqual(ALLOWED);
      expect(entry.reason).toBe("no username to compare");
      expect(entry).not.toHaveProperty("unnamed");
      expect(connection?.postureComplianceStatuses).toBe(undefined);
      expect(callsTo(ec2)).toStrictEqual([]);
    },
  );

  test("that is none is let in also where letter case is ignored, and its row denies nobody", async () => {
    const settings = { ...KEEP, IGNORE_USERNAME_CASE: "true" };
    expect((await logInWith(settings, { username: "" })).entry.reason).toBe("no username to compare");
    expect((await logInWith(settings)).entry).toMatchObject({ reason: AMONG_NAMED, unnamed: 1 });
  });

  test.each(["n/a", "na", "--"])("that is a person's is kept: %j", async (username) => {
    expect(await statusesOf(username)).toStrictEqual([keptAs(username)]);
  });

  test.each([KEEP, NOTE])(
    "with half a character is refused as ever, and nothing is kept, with %j",
    async (settings) => {
      for (const username of ["mallory\ud83d", `${"李".repeat(254)}\ud83d`, "\ude00"]) {
        const { response, entry } = await askHandlerWith(
          { ...settings, ON_FAILURE: "allow" },
          connectEvent({ username }),
        );
        expect(response).toMatchObject({ allow: false, "posture-compliance-statuses": [] });
        expect(entry.reason).toContain("invalid request: username");
      }
    },
  );

  test("of 1 MB gets an answer, whose entry has the user as it is compared", async () => {
    const username = "a".repeat(1_000_000);
    const { response, entry } = await askHandlerWith(NOTE, connectEvent({ username }));
    expect(response["posture-compliance-statuses"]).toStrictEqual([keptAs(username)]);
    expect(entry.user).toBe(keptAs(username));
  });

  test("is not kept without the setting, and is not read either", async () => {
    const older = addKept(10, [keptAs("alice")]);
    const { response, entry } = await logInWith({});
    expect(response).toStrictEqual(ALLOWED);
    expect(entry.reason).toBe("no older connections");
    expect(entry).not.toHaveProperty("unnamed");
    expect(ec2.requests[0]?.params.get("Filter.1.Value.1")).toBe("alice");
    expect((await sweep(await lambdaWith({}))).result).toMatchObject({ active: 2, unnamed: 2 });
    expect(older.status).toBe("active");
  });

  test.each(["a".repeat(255), "李".repeat(255), `${SHA256_PREFIX}a`])(
    "that does not fit is compared and asked for as it is without the setting: %j",
    async (username) => {
      ec2.hidden.clear();
      const { connection } = await logInWith({}, { username });
      const { entry } = await logInWith({}, { username });
      expect(entry).toMatchObject({ terminated: [connection?.connectionId], user: username });
      expect(ec2.requests[0]?.params.get("Filter.1.Value.1")).toBe(username);
    },
  );
});

describe("every answer that allows keeps the name", () => {
  const ALICES = { ...ALLOWED, "posture-compliance-statuses": [keptAs("alice")] };

  test("in a dry run, which ends nobody and would have", async () => {
    const older = addKept(10, [keptAs("alice")]);
    addKept(10, undefined);
    const { response, entry } = await askHandlerWith({ ...KEEP, DRY_RUN: "true" });
    expect(response).toStrictEqual(ALICES);
    expect(entry).toMatchObject({ unnamed: 1, dryRun: { decision: "allow", terminated: [older.connectionId] } });
    expect(older.status).toBe("active");
  });

  test("in a dry run that would have denied", async () => {
    ec2.fail("DescribeClientVpnConnections", REFUSED);
    const { response, entry } = await askHandlerWith({ ...KEEP, DRY_RUN: "true" });
    expect(response).toStrictEqual(ALICES);
    expect(entry).toMatchObject({ dryRun: { decision: "deny" }, errors: [{ code: "UnauthorizedOperation" }] });
  });

  test("of an exempt user, whose connections a sweep does not count", async () => {
    const longName = "李".repeat(255);
    const settings = { ...KEEP, EXEMPT_USERS: `alice, ${longName}` };
    expect((await logInWith(settings)).response).toStrictEqual(ALICES);
    expect((await logInWith(settings, { username: longName })).entry.reason).toBe("exempt user");
    for (const username of ["alice", longName]) await logInWith(settings, { username });
    expect(callsTo(ec2)).toStrictEqual([]);
    expect((await sweep(await lambdaWith(settings))).result).toMatchObject({ active: 0, unnamed: 0, terminated: [] });
  });

  test("where a look-up or a termination failed and ON_FAILURE is allow", async () => {
    const settings = { ...KEEP, ON_FAILURE: "allow" };
    addKept(10, [keptAs("alice")]);
    ec2.fail("DescribeClientVpnConnections", REFUSED);
    ec2.fail("TerminateClientVpnConnections", REFUSED);
    for (const [reason, unnamed] of [
      ["looked up", undefined],
      ["terminated", 0],
    ] as const) {
      const { response, entry } = await askHandlerWith(settings);
      expect(response).toStrictEqual(ALICES);
      expect(entry.reason).toBe(`older connections could not be ${reason}`);
      expect(entry.unnamed).toBe(unnamed);
    }
  });

  test("and no denial does", async () => {
    const denials = [
      { event: {}, says: "invalid request" },
      { event: connectEvent({ "schema-version": "v1" }), says: "invalid request" },
      { event: connectEvent({ "schema-version": "v4" }), says: "could not be looked up" },
      { event: connectEvent(), settings: { DRY_RUN: "perhaps" }, says: "wrong setting" },
      { event: connectEvent(), settings: { IDENTITY: "x".repeat(300), ON_FAILURE: "allow" }, says: "wrong setting" },
    ];
    ec2.fail("TerminateClientVpnConnections", REFUSED);
    for (const { event, settings, says } of denials) {
      const { response, entry } = await askHandlerWith({ ...KEEP, ...settings }, event);
      expect(response).toMatchObject({ allow: false, "posture-compliance-statuses": [] });
      expect(entry.reason).toContain(says);
    }
    // The process remembers whom it refused for that.
    for (let i = 0; i < 7; i++) addKept(1, [keptAs("mallory")]);
    addKept(10, [keptAs("alice")]);
    for (const [username, says] of [
      ["alice", "terminated"],
      ["mallory", "too many new"],
      ["mallory", "too many new"],
    ] as const) {
      const { response, entry } = await askHandlerWith(KEEP, connectEvent({ username }));
      expect(response).toMatchObject({ allow: false, "posture-compliance-statuses": [] });
      expect(entry.reason).toContain(says);
    }
  });
});

describe("the rule holds by kept names", () => {
  test("the newest wins, and nobody else is touched", async () => {
    for (const username of ["alice", "bob", "alice", "carol", "alice"]) await logInWith(KEEP, { username });
    expect(statuses(ec2.connections)).toStrictEqual(["terminated", "active", "terminated", "active", "active"]);
  });

  test("a sweep ends what logins of one moment left, and says whose it was", async () => {
    for (const [i, username] of ["alice", "bob", "alice", "alice", "bob"].entries()) {
      await logInWith(NOTE, { username }, { establishedAt: new Date(Date.now() - 60_000 + 1_000 * i) });
    }
    const kept = new Map(ec2.connections.map(({ connectionId, username }) => [connectionId, username]));
    const { result, users } = await sweep(await lambdaWith(KEEP), (id) => kept.get(id));
    expect(statuses(ec2.connections)).toStrictEqual(["terminated", "terminated", "terminated", "active", "active"]);
    expect(result).toMatchObject({ active: 5, unnamed: 0 });
    expect(users.map(([user]) => user).toSorted()).toStrictEqual(["alice", "bob"]);
  });

  test("a sweep names a user whose name does not fit by what is kept of it, as that user's logins do", async () => {
    const username = "李".repeat(255);
    addKept(20, [keptAs(username)]);
    const { entry } = await logInWith(NOTE, { username });
    const { users } = await sweep(await lambdaWith(KEEP), () => keptAs(username));
    expect(users).toStrictEqual([[keptAs(username), [ec2.connections[0]?.connectionId]]]);
    expect(entry).toMatchObject({ user: keptAs(username), username });
  });

  test("among 1,500 rows, also on the second page, without a filter", async () => {
    for (let i = 0; i < 1_499; i++) addKept(10, [keptAs(`user-${i}`)]);
    const older = addKept(10, [keptAs("alice")]);
    const { entry } = await askHandlerWith(KEEP);
    expect(entry).toMatchObject({ terminated: [older.connectionId], unnamed: 0 });
    expect(callsTo(ec2)).toStrictEqual(["Describe", "Describe", "Terminate"]);
    for (const { params } of ec2.requests) expect(params.has("Filter.1.Name")).toBe(false);
  });

  test("with a limit of 2, the device that comes back goes first", async () => {
    ec2.hidden.delete("commonName");
    const settings = { ...KEEP, MAX_CONNECTIONS_PER_USER: "2" };
    const rows = ["phone", "laptop", "phone"].map((commonName, i) =>
      addKept(30 - 10 * i, [keptAs("alice")], { commonName }),
    );
    const { entry } = await askHandlerWith(settings, connectEvent({ "common-name": "laptop" }));
    expect(entry.terminatedCount).toBe(2);
    expect(statuses(rows)).toStrictEqual(["terminated", "terminated", "active"]);
  });

  test("the new connection does not count as an older one or as nameless, where EC2 lists it without its statuses", async () => {
    addKept(0, undefined, { connectionId: CONNECTION_ID });
    const { entry } = await askHandlerWith(KEEP);
    expect(entry).toMatchObject({ reason: "no older connections", unnamed: 0 });
  });

  test("too many new ones are counted by their kept names", async () => {
    // The process remembers this one's refusal for a while.
    const username = "eve";
    for (let i = 0; i < 7; i++) addKept(1, [keptAs(username)]);
    addKept(1, undefined);
    expect((await askHandlerWith(KEEP)).response.allow).toBe(true);
    const { response, entry } = await askHandlerWith(KEEP, connectEvent({ username }));
    expect(response.allow).toBe(false);
    expect(entry).toMatchObject({ reason: "too many new connections", unnamed: 1 });
    expect(callsTo(ec2)).toStrictEqual(["Describe", "Describe"]);
  });
});

describe("with IGNORE_USERNAME_CASE", () => {
  const settings = { ...KEEP, IGNORE_USERNAME_CASE: "true" };

  test.each([
    ["Alice", "aLICE"],
    ["ZOË", "zoë"],
    ["İ", "i̇"],
    ["A".repeat(226), "a".repeat(226)],
    ["A".repeat(255), "a".repeat(255)],
    // Of these, one fits and the other does not: its lower case is longer, or shorter.
    ["İ".repeat(37), "i̇".repeat(37)],
    ["\u212a".repeat(26), "k".repeat(26)], // the sign for kelvin
    [`${SHA256_PREFIX}A`, `${SHA256_PREFIX}a`],
    ["VPN-Session-Handler.username-sha256.a", `${SHA256_PREFIX}A`],
  ])("%s and %s are one user, in either order", async (one, other) => {
    for (const [first, second] of [
      [one, other],
      [other, one],
    ] as const) {
      const { connection } = await logInWith(settings, { username: first });
      const { entry } = await logInWith(settings, { username: second });
      expect(entry).toMatchObject({ terminated: [connection?.connectionId], unnamed: 0 });
      for (const row of ec2.connections) row.status = "terminated";
    }
  });

  test("the name is kept in the letter case of the login, if it fits", async () => {
    const { connection } = await logInWith(settings, { username: "Alice" });
    expect(connection?.postureComplianceStatuses).toStrictEqual([keptAs("Alice")]);
  });

  test("and without it, they are two", async () => {
    for (const username of ["Alice", "alice", "A".repeat(255), "a".repeat(255)]) await logInWith(KEEP, { username });
    expect(new Set(statuses(ec2.connections))).toStrictEqual(new Set(["active"]));
  });

  test("two spellings in one row do not contradict each other", async () => {
    const older = addKept(10, [keptAs("Alice"), keptAs("ALICE")]);
    expect((await askHandlerWith(settings)).entry.terminated).toStrictEqual([older.connectionId]);
  });
});

describe("with IDENTITY=common-name", () => {
  const settings = { ...KEEP, IDENTITY: "common-name" };

  test("the common name is kept, and the rule holds by it", async () => {
    for (const [username, name] of [
      ["alice", "laptop"],
      ["bob", "laptop"],
      ["bob", "phone"],
    ] as const) {
      const { connection } = await logInWith(settings, { username, "common-name": name });
      expect(connection?.postureComplianceStatuses).toStrictEqual([keptAs(name, "common-name")]);
    }
    expect(statuses(ec2.connections)).toStrictEqual(["terminated", "active", "active"]);
  });

  test("the oldest goes first, whether EC2 lists its common name or not", async () => {
    ec2.hidden.clear();
    const rows = [undefined, "alice", undefined].map((commonName, i) =>
      addKept(30 - 10 * i, [keptAs("alice", "common-name")], { commonName }),
    );
    const event = connectEvent({ "common-name": "alice" });
    await askHandlerWith({ ...settings, MAX_CONNECTIONS_PER_USER: "3" }, event);
    expect(statuses(rows)).toStrictEqual(["terminated", "active", "active"]);
  });

  test("a login without one is answered as ON_FAILURE says, without a call, and keeps nothing", async () => {
    for (const ON_FAILURE of ["deny", "allow"]) {
      const { response, entry } = await askHandlerWith(
        { ...settings, ON_FAILURE },
        connectEvent({ "common-name": "" }),
      );
      expect(response).toMatchObject({ allow: ON_FAILURE === "allow", "posture-compliance-statuses": [] });
      expect(entry.errors).toMatchObject([{ code: "UnnamedLogin" }]);
    }
    expect(callsTo(ec2)).toStrictEqual([]);
  });

  test.each<[Identity, Identity]>([
    ["username", "common-name"],
    ["common-name", "username"],
  ])("what was kept with %s is foreign with %s: one user's row is not another's", async (before, after) => {
    const names = { username: "alice", "common-name": "alice" };
    await logInWith({ ...KEEP, IDENTITY: before }, names);
    await logInWith({ ...KEEP, IDENTITY: before }, { username: "x".repeat(255), "common-name": "x".repeat(255) });
    const { entry } = await logInWith({ ...KEEP, IDENTITY: after }, names);
    expect(entry).toMatchObject({ reason: AMONG_NAMED, unnamed: 2 });
    expect(statuses(ec2.connections)).toStrictEqual(["active", "active", "active"]);
  });
});

describe("what EC2 lists beside it", () => {
  beforeEach(() => ec2.hidden.clear());

  test("a kept name wins over another spelling, in logins and sweeps", async () => {
    const own = [20, 10].map((age) => addKept(age, [keptAs("alice")], { username: "CORP\\alice" }));
    const bobs = addKept(30, [keptAs("bob")], { username: "alice" });
    const swept = await sweep(await lambdaWith(KEEP), () => "alice");
    expect(swept.result.terminated).toStrictEqual([own[0]?.connectionId]);
    expect((await askHandlerWith(KEEP)).entry).toMatchObject({ terminated: [own[1]?.connectionId], unnamed: 0 });
    expect(bobs.status).toBe("active");
  });

  test("a kept name, a listed one and neither: two are the user's, and one is counted", async () => {
    addKept(30, [keptAs("alice")], { username: undefined });
    addKept(20, undefined, { username: "alice" });
    addKept(10, [], { username: "N/A" });
    addKept(10, undefined, { username: undefined, status: "terminated" });
    const { entry } = await askHandlerWith(KEEP);
    expect(entry).toMatchObject({ reason: "older connections terminated", terminatedCount: 2, unnamed: 1 });
    expect(statuses(ec2.connections)).toStrictEqual(["terminated", "terminated", "active", "terminated"]);
    expect((await sweep(await lambdaWith(KEEP))).result).toMatchObject({ active: 1, unnamed: 1, terminated: [] });
  });

  test("a listed name that does not fit is the same user's as a kept one", async () => {
    const username = "李".repeat(255);
    const older = addKept(10, undefined, { username });
    expect((await askHandlerWith(KEEP, connectEvent({ username }))).entry.terminated).toStrictEqual([
      older.connectionId,
    ]);
  });

  test("statuses of somebody else's are no names, whatever they say", async () => {
    const foreign = [["compliant"], ["unknown", "alice"], ["vpn-session-handler"], ["username.alice"], [""]];
    for (const statuses of foreign) addKept(10, statuses, { username: undefined });
    const { entry } = await askHandlerWith(KEEP);
    expect(entry).toMatchObject({ reason: AMONG_NAMED, terminated: [], unnamed: foreign.length });
  });

  test("a kept name among statuses of somebody else's counts", async () => {
    const older = addKept(10, ["compliant", keptAs("alice"), "unknown", keptAs("alice")], { username: undefined });
    expect((await askHandlerWith(KEEP)).entry.terminated).toStrictEqual([older.connectionId]);
  });

  test("two kept names are none, also where EC2 lists one of them", async () => {
    for (const other of ["bob", "李".repeat(255)]) {
      addKept(10, [keptAs("alice"), keptAs(other)], { username: "alice" });
      addKept(20, [keptAs(other), keptAs("alice")], { username: "alice" });
    }
    expect((await askHandlerWith(KEEP)).entry).toMatchObject({ reason: AMONG_NAMED, terminated: [], unnamed: 4 });
    expect((await sweep(await lambdaWith(KEEP))).result).toMatchObject({ active: 4, unnamed: 4, terminated: [] });
  });

  test.each([
    ...[
      "%zz",
      "%e0%a4",
      "%",
      "%4",
      "%61lice",
      "%C3%AB",
      "a b",
      "ë",
      "alice\n",
      "%ff",
      "%c0%80",
      "",
      "NA",
      "-",
      "N%2fA",
    ].map((rest) => `vpn-session-handler.username.${rest}`),
    ...["", "zz", "0".repeat(63), "0".repeat(65), "A".repeat(64), `${"0".repeat(64)} `].map(
      (rest) => SHA256_PREFIX + rest,
    ),
  ])("a status with this function's prefix that it never writes keeps no name: %j", async (status) => {
    const older = addKept(20, [status], { username: "alice" });
    const kept = addKept(10, [status, keptAs("alice")], { username: undefined });
    const stranger = addKept(10, [status], { username: undefined });
    const { entry } = await askHandlerWith({ ...KEEP, MAX_CONNECTIONS_PER_USER: "2" });
    expect(entry).toMatchObject({ terminated: [older.connectionId], unnamed: 1 });
    expect(statuses([kept, stranger])).toStrictEqual(["active", "active"]);
  });
});

describe("a connection without a name", () => {
  test("denies nobody, is not ended, and is counted", async () => {
    for (let i = 0; i < 3; i++) addKept(10, undefined);
    addKept(10, [keptAs("bob")]);
    const { response, entry, level } = await logInWith(KEEP);
    expect(response.allow).toBe(true);
    expect(level).toBe("info");
    expect(entry).toMatchObject({ reason: AMONG_NAMED, unnamed: 3, errors: [] });
    expect((await logInWith(KEEP)).entry).toMatchObject({ reason: "older connections terminated", unnamed: 3 });
    expect((await sweep(await lambdaWith(KEEP))).result).toMatchObject({ active: 5, unnamed: 3, terminated: [] });
  });

  test("of a login without a name turns no other login into a failed check", async () => {
    await logInWith(KEEP, { username: "" });
    expect((await logInWith(KEEP)).entry).toMatchObject({ reason: AMONG_NAMED, unnamed: 1 });
    expect(statuses(ec2.connections)).toStrictEqual(["active", "active"]);
  });
});

describe("with CHECK_LOGINS=false", () => {
  test("a login is allowed at once and noted, and EC2 is not asked, even where it is down", async () => {
    ec2.fail("DescribeClientVpnConnections", "hang", Number.POSITIVE_INFINITY);
    addKept(10, [keptAs("alice")]);
    const { response, entry, level } = await askHandlerWith(NOTE);
    expect(response).toStrictEqual({ ...ALLOWED, "posture-compliance-statuses": [keptAs("alice")] });
    expect(level).toBe("info");
    expect(entry).toMatchObject({ reason: "noted, and left to the sweep", publicIp: "203.0.113.7", user: "alice" });
    expect(entry).not.toHaveProperty("unnamed");
    expect(callsTo(ec2)).toStrictEqual([]);
  });

  test.each<[string, Record<string, string>, Record<string, unknown>]>([
    ["in a dry run", { DRY_RUN: "true" }, {}],
    ["without a name", {}, { username: "" }],
    ["without a name that IDENTITY needs", { IDENTITY: "common-name" }, { "common-name": "" }],
    ["of a later schema version", {}, { "schema-version": "v4" }],
    ["with nothing kept", { KEEP_NAMES: "false" }, {}],
  ])("the same holds for a login %s", async (_, settings, request) => {
    const { response, entry } = await askHandlerWith({ ...NOTE, ...settings }, connectEvent(request));
    expect(response.allow).toBe(true);
    expect(entry.reason).toBe("noted, and left to the sweep");
    expect(entry).not.toHaveProperty("dryRun");
    expect(callsTo(ec2)).toStrictEqual([]);
  });

  test("an exempt user is told apart", async () => {
    expect((await askHandlerWith({ ...NOTE, EXEMPT_USERS: "alice" })).entry.reason).toBe("exempt user");
  });

  test("wrong settings and invalid requests are denied as ever", async () => {
    for (const [settings, request, says] of [
      [{ ON_FAILURE: "perhaps" }, {}, "wrong setting: ON_FAILURE"],
      [{}, { "connection-id": "" }, "invalid request: connection-id"],
      [{}, { username: 7 }, "invalid request: username"],
      [{}, { "schema-version": "v1" }, "invalid request: schema-version"],
    ] as const) {
      const { response, entry } = await askHandlerWith({ ...NOTE, ...settings }, connectEvent(request));
      expect(response).toMatchObject({ allow: false, "posture-compliance-statuses": [] });
      expect(entry.reason).toContain(says);
    }
    expect(callsTo(ec2)).toStrictEqual([]);
  });

  test("sweeps end what logins left, by what EC2 lists too", async () => {
    ec2.hidden.clear();
    const rows = [20, 10].map((age) => addConnectionOf("alice", age));
    expect((await sweep(await lambdaWith({ CHECK_LOGINS: "false" }))).result.terminated).toHaveLength(1);
    expect(statuses(rows)).toStrictEqual(["terminated", "active"]);
  });

  test("a dry run's sweep names what it would end by kept names", async () => {
    for (const age of [20, 10]) await logInWith(NOTE, {}, { establishedAt: new Date(Date.now() - 1_000 * age) });
    const { users } = await sweep(await lambdaWith({ ...NOTE, DRY_RUN: "true" }));
    expect(users).toStrictEqual([["alice", [ec2.connections[0]?.connectionId]]]);
    expect(statuses(ec2.connections)).toStrictEqual(["active", "active"]);
  });
});
