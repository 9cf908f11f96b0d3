import { describe, expect, test } from "vitest";
import { REFUSED } from "../ec2/faults.ts";
import { ALLOWED, checkAnswer } from "../helpers/answers.ts";
import { statuses, useEc2, useSettings } from "../helpers/built.ts";
import { CONNECTION_ID, connectEvent } from "../helpers/events.ts";
import { expectEachSetting } from "../helpers/settings.ts";

// The built file with each setting, in a process of its own, over HTTP.

const ec2 = useEc2();
const { lambdaWith, askHandlerWith, addConnection } = useSettings(ec2);

describe("MAX_CONNECTIONS_PER_USER", () => {
  test.each([
    ["1", ["terminated", "terminated", "terminated"]],
    ["2", ["terminated", "active", "terminated"]],
    ["3", ["active", "active", "terminated"]],
    ["4", ["active", "active", "active"]],
    ["1000000", ["active", "active", "active"]],
  ])("%s keeps the newest ones, the new one included", async (value, expected) => {
    const rows = [addConnection(20), addConnection(10), addConnection(30)];
    addConnection(5, { username: "bob" });
    addConnection(0, { connectionId: CONNECTION_ID });
    const { response } = await askHandlerWith({ MAX_CONNECTIONS_PER_USER: value });
    expect(response).toStrictEqual(ALLOWED);
    expect(statuses(rows)).toStrictEqual(expected);
    expect(statuses(ec2.connections.slice(3))).toStrictEqual(["active", "active"]);
  });

  test.each(["", "-"])("takes a connection without a time (%j) among others for the oldest", async (establishedAt) => {
    const rows = [addConnection(20), addConnection(0, { establishedAt }), addConnection(10)];
    const { response } = await askHandlerWith({ MAX_CONNECTIONS_PER_USER: "3" });
    expect(response).toStrictEqual(ALLOWED);
    expect(statuses(rows)).toStrictEqual(["active", "terminated", "active"]);
  });

  test("2 counts a newer connection, where the new one is listed too", async () => {
    const rows = [addConnection(30), addConnection(20), addConnection(5)];
    addConnection(10, { connectionId: CONNECTION_ID });
    expect((await askHandlerWith({ MAX_CONNECTIONS_PER_USER: "2" })).response).toStrictEqual(ALLOWED);
    expect(statuses(rows)).toStrictEqual(["terminated", "terminated", "active"]);
  });

  test("3 counts a newer connection, and the newest of the older ones, where the new one is listed too", async () => {
    const rows = [addConnection(30), addConnection(20), addConnection(5)];
    addConnection(10, { connectionId: CONNECTION_ID });
    expect((await askHandlerWith({ MAX_CONNECTIONS_PER_USER: "3" })).response).toStrictEqual(ALLOWED);
    expect(statuses(rows)).toStrictEqual(["terminated", "active", "active"]);
  });

  test("does not count connections that have ended", async () => {
    const older = addConnection(30);
    for (let i = 0; i < 5; i++) addConnection(i, { status: "terminated" });
    expect((await askHandlerWith({ MAX_CONNECTIONS_PER_USER: "2" })).response).toStrictEqual(ALLOWED);
    expect(older.status).toBe("active");
  });
});

describe("ON_FAILURE", () => {
  test.each<[string, boolean]>([
    ["deny", false],
    ["allow", true],
  ])("%s is the answer when EC2 cannot be asked", async (value, allow) => {
    const older = addConnection(10);
    ec2.fail("DescribeClientVpnConnections", REFUSED);
    const { response, entry, level } = await askHandlerWith({ ON_FAILURE: value });
    expect(response.allow).toBe(allow);
    expect(older.status).toBe("active");
    expect(level).toBe("error");
    expect(entry).toMatchObject({
      reason: "older connections could not be looked up",
      errors: [{ code: "UnauthorizedOperation" }],
    });
  });

  test.each<[string, boolean]>([
    ["deny", false],
    ["allow", true],
  ])("%s is the answer when a connection cannot be ended", async (value, allow) => {
    const [ends, stays] = [addConnection(10), addConnection(20)];
    ec2.fail("TerminateClientVpnConnections", (params) =>
      params.get("ConnectionId") === stays.connectionId ? "failed-to-terminate" : undefined,
    );
    const { response, entry, level } = await askHandlerWith({ ON_FAILURE: value });
    expect(response.allow).toBe(allow);
    expect(level).toBe("error");
    expect(entry).toMatchObject({
      reason: "older connections could not be terminated",
      terminated: [ends.connectionId],
      notTerminated: [stays.connectionId],
    });
  });

  test("allow lets nobody in whose request is invalid", async () => {
    const { response } = await askHandlerWith({ ON_FAILURE: "allow" }, connectEvent({ "schema-version": "v1" }));
    expect(response.allow).toBe(false);
    expect(ec2.requests).toHaveLength(0);
  });

  test("allow is on time when EC2 hangs", async () => {
    ec2.fail("DescribeClientVpnConnections", "hang", Number.POSITIVE_INFINITY);
    const lambda = await lambdaWith({ ON_FAILURE: "allow" });
    const { response, durationMs, lateMs } = await lambda.invoke(connectEvent(), { remaining: 1_500 });
    expect(response).toStrictEqual(ALLOWED);
    expect(durationMs - lateMs).toBeLessThan(1_000);
  });
});

describe("IDENTITY", () => {
  const byCertificate = (fields: Record<string, unknown> = {}) =>
    connectEvent({ username: "", "common-name": "laptop", ...fields });

  test("username looks at user names alone", async () => {
    const rows = [
      addConnection(10, { commonName: "laptop" }),
      addConnection(10, { username: "bob", commonName: "laptop" }),
    ];
    await askHandlerWith({ IDENTITY: "username" }, connectEvent({ "common-name": "laptop" }));
    expect(statuses(rows)).toStrictEqual(["terminated", "active"]);
  });

  test("username is not interested in an odd common name", async () => {
    const { response } = await askHandlerWith({ IDENTITY: "username" }, connectEvent({ "common-name": 7 }));
    expect(response).toStrictEqual(ALLOWED);
  });

  test("common-name ends the connection with the same certificate, and reads all connections, without a filter", async () => {
    const rows = ["laptop", "phone", "Laptop", "laptop "].map((commonName) =>
      addConnection(10, { username: "", filterUsername: "", commonName }),
    );
    for (let i = 0; i < 2_000; i++) ec2.addConnection({ username: `user-${i}` });
    const { response, entry } = await askHandlerWith({ IDENTITY: "common-name" }, byCertificate());
    expect(response).toStrictEqual(ALLOWED);
    expect(statuses(rows)).toStrictEqual(["terminated", "active", "active", "active"]);
    expect(entry).toMatchObject({ username: "", commonName: "laptop", terminated: [rows[0]?.connectionId] });
    expect(ec2.requests).toHaveLength(4);
    for (const { params } of ec2.requests) expect(params.has("Filter.1.Name")).toBe(false);
  });

  test.each<[string, unknown]>([
    ["alice", "alice"],
    ["a number", 7],
    ["null", null],
  ])("common-name does not count the user name: %s", async (_, username) => {
    const rows = [addConnection(10), addConnection(10, { username: "bob", commonName: "laptop" })];
    const { response } = await askHandlerWith({ IDENTITY: "common-name" }, byCertificate({ username }));
    expect(response).toStrictEqual(ALLOWED);
    expect(statuses(rows)).toStrictEqual(["active", "terminated"]);
  });

  test.each([
    ["empty", ""],
    ["null", null],
    ["absent", undefined],
    ["a placeholder", "NA"],
  ])("common-name is answered as ON_FAILURE says, without a call, when it is %s", async (_, commonName) => {
    const event = byCertificate({ "common-name": commonName });
    for (const [ON_FAILURE, allow] of [
      ["deny", false],
      ["allow", true],
    ] as const) {
      const { response, entry, level } = await askHandlerWith({ IDENTITY: "common-name", ON_FAILURE }, event);
      expect(response.allow).toBe(allow);
      expect(level).toBe("error");
      expect(entry.reason).toBe("older connections could not be looked up");
      expect(entry.errors).toStrictEqual([{ code: "UnnamedLogin", message: "no common-name to compare" }]);
    }
    expect(ec2.requests).toHaveLength(0);
  });

  test.each([[7], [["laptop"]], [{}], [false]])(
    "common-name denies a common name that is no text: %j",
    async (name) => {
      const event = byCertificate({ "common-name": name });
      const { response, entry } = await askHandlerWith({ IDENTITY: "common-name" }, event);
      expect(response.allow).toBe(false);
      expect(entry.reason).toContain("invalid request: common-name: expected a string, got ");
      expect(ec2.requests).toHaveLength(0);
    },
  );

  test.each(["", undefined])(
    "common-name denies where a row's common name is %j: it may be anybody's",
    async (name) => {
      const rows = [addConnection(10, { commonName: name }), addConnection(10, { commonName: "laptop" })];
      addConnection(10, { commonName: "", status: "terminated" });
      const { response, entry } = await askHandlerWith({ IDENTITY: "common-name" }, byCertificate());
      expect(response.allow).toBe(false);
      expect(statuses(rows)).toStrictEqual(["active", "active"]);
      const message = `EC2 gave no common-name for ${rows[0]?.connectionId}, which may be anybody's`;
      expect(entry.errors).toStrictEqual([{ code: "UnexpectedAnswer", message }]);
    },
  );

  test("common-name allows where the only connection without a common name has ended", async () => {
    const older = addConnection(20, { commonName: "laptop" });
    addConnection(10, { commonName: "", status: "terminated" });
    addConnection(10, { commonName: undefined, status: "terminating" });
    const { response, entry } = await askHandlerWith({ IDENTITY: "common-name" }, byCertificate());
    expect(response).toStrictEqual(ALLOWED);
    expect(entry).toMatchObject({ terminated: [older.connectionId], errors: [] });
  });

  test.each(["", undefined, "phone"])(
    "common-name knows the new connection by its id, where EC2 names it %j",
    async (name) => {
      for (const age of [20, 5]) addConnection(age, { commonName: "laptop" });
      addConnection(10, { commonName: name, connectionId: CONNECTION_ID });
      const { response } = await askHandlerWith({ IDENTITY: "common-name" }, byCertificate());
      expect(response).toStrictEqual(ALLOWED);
      expect(statuses(ec2.connections)).toStrictEqual(["terminated", "active", "active"]);
    },
  );

  test("common-name heeds IGNORE_USERNAME_CASE and MAX_CONNECTIONS_PER_USER", async () => {
    const rows = ["LAPTOP", "Laptop", "laptop"].map((commonName, i) => addConnection(10 * i + 10, { commonName }));
    await askHandlerWith(
      { IDENTITY: "common-name", IGNORE_USERNAME_CASE: "true", MAX_CONNECTIONS_PER_USER: "2" },
      byCertificate(),
    );
    expect(statuses(rows)).toStrictEqual(["active", "terminated", "terminated"]);
  });

  test("common-name takes * and \\ as they are", async () => {
    const rows = ["*", "\\", "laptop"].map((commonName) => addConnection(10, { commonName }));
    await askHandlerWith({ IDENTITY: "common-name" }, byCertificate({ "common-name": "*" }));
    expect(statuses(rows)).toStrictEqual(["terminated", "active", "active"]);
  });
});

describe("IGNORE_USERNAME_CASE", () => {
  test("false leaves alone who differs in letter case, and asks for one user", async () => {
    const rows = [addConnection(10, { username: "Alice" }), addConnection(10)];
    expect((await askHandlerWith({ IGNORE_USERNAME_CASE: "false" })).response).toStrictEqual(ALLOWED);
    expect(statuses(rows)).toStrictEqual(["active", "terminated"]);
    expect(ec2.requests[0]?.params.get("Filter.1.Value.1")).toBe("alice");
  });

  test("true ends them too, and reads all connections, a thousand with each call", async () => {
    const rows = ["Alice", "ALICE", "alice", "alicia", "bob"].map((username) => addConnection(10, { username }));
    for (let i = 0; i < 2_000; i++) ec2.addConnection({ username: `user-${i}` });
    const { response } = await askHandlerWith({ IGNORE_USERNAME_CASE: "true" }, connectEvent({ username: "aLICE" }));
    expect(response).toStrictEqual(ALLOWED);
    expect(statuses(rows)).toStrictEqual(["terminated", "terminated", "terminated", "active", "active"]);
    const reads = ec2.requests.filter(({ action }) => action === "DescribeClientVpnConnections");
    expect(reads).toHaveLength(3);
    for (const { params } of reads) expect(params.has("Filter.1.Name")).toBe(false);
    expect(ec2.requests).toHaveLength(6);
  });

  test("true takes names for one that differ in lower case alone: straße is not STRASSE", async () => {
    const rows = ["STRASSE", "strasse", "STRAßE"].map((username) => addConnection(10, { username }));
    await askHandlerWith({ IGNORE_USERNAME_CASE: "true" }, connectEvent({ username: "straße" }));
    expect(statuses(rows)).toStrictEqual(["active", "active", "terminated"]);
  });

  test("true counts the spellings of a name together", async () => {
    const rows = [
      addConnection(30, { username: "Alice" }),
      addConnection(10, { username: "ALICE" }),
      addConnection(20),
    ];
    await askHandlerWith({ IGNORE_USERNAME_CASE: "true", MAX_CONNECTIONS_PER_USER: "2" });
    expect(statuses(rows)).toStrictEqual(["terminated", "active", "terminated"]);
  });

  test("true needs no filter for a user named *", async () => {
    const rows = [addConnection(10, { username: "*" }), addConnection(10)];
    const event = connectEvent({ username: "*" });
    expect((await askHandlerWith({ IGNORE_USERNAME_CASE: "true" }, event)).response).toStrictEqual(ALLOWED);
    expect(statuses(rows)).toStrictEqual(["terminated", "active"]);
  });

  test("true answers a login without a user name as ON_FAILURE says: its row would be anybody's", async () => {
    const settings = { IGNORE_USERNAME_CASE: "true" };
    const { response, entry, level } = await askHandlerWith(settings, connectEvent({ username: "" }));
    expect(response.allow).toBe(false);
    expect(level).toBe("error");
    expect(entry.errors).toStrictEqual([{ code: "UnnamedLogin", message: "no username to compare" }]);
    expect(ec2.requests).toHaveLength(0);
  });

  test("true denies where EC2 does not name the user of a connection, which may be anybody's", async () => {
    const stranger = addConnection(10, { username: undefined, filterUsername: "bob" });
    const { response, entry } = await askHandlerWith({ IGNORE_USERNAME_CASE: "true" });
    expect(response.allow).toBe(false);
    expect(stranger.status).toBe("active");
    expect(entry.errors).toMatchObject([{ code: "UnexpectedAnswer" }]);
  });
});

describe("DRY_RUN", () => {
  test("true ends nobody, and logs whom it would have ended", async () => {
    const [older, bob] = [addConnection(10), addConnection(10, { username: "bob" })];
    const { response, entry, level } = await askHandlerWith({ DRY_RUN: "true" });
    expect(response).toStrictEqual(ALLOWED);
    expect(statuses([older, bob])).toStrictEqual(["active", "active"]);
    expect(ec2.requests.map(({ action }) => action)).toStrictEqual(["DescribeClientVpnConnections"]);
    expect(level).toBe("info");
    expect(entry).toMatchObject({
      reason: "dry run: older connections terminated",
      terminated: [],
      notTerminated: [],
      dryRun: { decision: "allow", terminated: [older.connectionId] },
    });
  });

  test("true allows also when EC2 fails, and logs what it would have answered", async () => {
    addConnection(10);
    ec2.fail("DescribeClientVpnConnections", REFUSED);
    const { response, entry, level } = await askHandlerWith({ DRY_RUN: "true" });
    expect(response).toStrictEqual(ALLOWED);
    expect(level).toBe("error");
    expect(entry).toMatchObject({
      reason: "dry run: older connections could not be looked up",
      errors: [{ code: "UnauthorizedOperation" }],
      dryRun: { decision: "deny", terminated: [] },
    });
  });

  test("true with ON_FAILURE allow would have allowed", async () => {
    ec2.fail("DescribeClientVpnConnections", REFUSED);
    const { entry } = await askHandlerWith({ DRY_RUN: "true", ON_FAILURE: "allow" });
    expect(entry.dryRun).toStrictEqual({ decision: "allow", terminated: [], terminatedCount: 0 });
  });

  test("true heeds the other settings", async () => {
    const rows = [addConnection(10, { username: "ALICE" }), addConnection(20)];
    const { entry } = await askHandlerWith({
      DRY_RUN: "true",
      IGNORE_USERNAME_CASE: "true",
      MAX_CONNECTIONS_PER_USER: "2",
    });
    expect(entry.dryRun).toStrictEqual({
      decision: "allow",
      terminated: [rows[1]?.connectionId],
      terminatedCount: 1,
    });
  });

  test("true lets nobody in whose request is invalid", async () => {
    const { response, entry } = await askHandlerWith({ DRY_RUN: "true" }, connectEvent({ "endpoint-id": "" }));
    expect(response.allow).toBe(false);
    expect(entry).not.toHaveProperty("dryRun");
  });

  test("false ends the older connection, and logs nothing of a dry run", async () => {
    const older = addConnection(10);
    const { entry } = await askHandlerWith({ DRY_RUN: "false" });
    expect(older.status).toBe("terminated");
    expect(entry).not.toHaveProperty("dryRun");
  });
});

/** For each setting, what the log says that it expects, and values that it does not take. */
const WRONG: Record<string, { expected: string; values: string[] }> = {
  MAX_CONNECTIONS_PER_USER: {
    expected: "an integer from 1",
    values: ["0", "-1", "1.5", "01", "+2", " 2", "2 ", "1e3", "two", "Infinity", "²"],
  },
  ON_FAILURE: { expected: "deny or allow", values: ["Deny", "ALLOW", "true", "no"] },
  IDENTITY: { expected: "username or common-name", values: ["user name", "CommonName", "common-names"] },
  IGNORE_USERNAME_CASE: { expected: "true or false", values: ["ture", "TRUE", "False", "1", "yes", "true\n"] },
  KEEP_NAMES: { expected: "true or false", values: ["ture", "TRUE", "False", "1", "yes", "true\n"] },
  CHECK_LOGINS: { expected: "true or false", values: ["ture", "TRUE", "False", "0", "no", "false\n"] },
  EXEMPT_USERS: { expected: "names between commas", values: ["a,,b", ",", "a,", ",a", "a, ,b", " "] },
  DRY_RUN: { expected: "true or false", values: ["ture", "TRUE", "False", "1", "yes", "true\n"] },
};

test("settings that are empty are as if they were not there", async () => {
  const rows = [addConnection(10), addConnection(10, { username: "Alice" })];
  const { entry, level } = await askHandlerWith(Object.fromEntries(Object.keys(WRONG).map((name) => [name, ""])));
  expect(statuses(rows)).toStrictEqual(["terminated", "active"]);
  expect(entry.reason).toBe("older connections terminated");
  expect(level).toBe("info");
});

describe("a wrong setting", () => {
  test("is tried of each that the handler has", () => {
    expectEachSetting(Object.keys(WRONG), "the wrong values in test/built/settings.test.ts");
  });

  const wrong = Object.entries(WRONG).flatMap(([name, { expected, values }]) =>
    values.map((value): [name: string, value: string, expected: string] => [name, value, expected]),
  );

  test.each(wrong)("%s=%j denies everybody, names itself, and calls nobody", async (name, value, expected) => {
    const older = addConnection(10);
    const lambda = await lambdaWith({ [name]: value });
    for (const event of [connectEvent(), connectEvent({ username: "" }), {}]) {
      const invocation = await lambda.invoke(event);
      const { entry, level } = checkAnswer(invocation);
      expect(invocation.response.allow).toBe(false);
      expect(invocation.response["error-msg-on-denied-connection"]).toMatch(
        /not set up correctly.*contact your VPN administrator/,
      );
      expect(level).toBe("error");
      expect(entry.reason).toContain(
        `wrong setting: ${name}: expected ${expected}, got '${value.replace("\n", "\\n")}'`,
      );
    }
    await expect(lambda.sweep({ sweep: ec2.endpointId })).rejects.toThrow(`wrong setting: ${name}`);
    expect(older.status).toBe("active");
    expect(ec2.requests).toHaveLength(0);
  });

  test("does not hide another one", async () => {
    const { entry } = await askHandlerWith({ ON_FAILURE: "maybe", DRY_RUN: "ture" });
    expect(entry.reason).toMatch(/ON_FAILURE.*'maybe'; .*DRY_RUN.*'ture'/);
  });
});
