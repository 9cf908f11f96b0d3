import {
  type ClientVpnConnection,
  DescribeClientVpnConnectionsCommand,
  EC2Client,
  TerminateClientVpnConnectionsCommand,
  type TerminateClientVpnConnectionsCommandOutput,
} from "@aws-sdk/client-ec2";
import { mockClient } from "aws-sdk-client-mock";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { handler } from "../../src/handler.ts";
import { ENDPOINT_ID } from "../ec2/server.ts";
import { ALLOWED, entryOfTerminated, expectValidAnswer } from "../helpers/answers.ts";
import { BAD_EVENTS, CONNECTION_ID, connectEvent } from "../helpers/events.ts";

const ENDED = { ClientVpnEndpointId: ENDPOINT_ID };

const ec2 = mockClient(EC2Client);
const info = vi.spyOn(console, "info");
const error = vi.spyOn(console, "error");

beforeEach(() => {
  ec2.reset();
  ec2.on(TerminateClientVpnConnectionsCommand).resolves(ENDED);
  for (const write of [info, error]) write.mockReset().mockImplementation(() => {});
});

afterEach(() => {
  vi.unstubAllEnvs();
});

function row(ConnectionId: string, fields: Partial<ClientVpnConnection> = {}): ClientVpnConnection {
  return { ConnectionId, Username: "alice", Status: { Code: "active" }, ...fields };
}

function listed(...Connections: ClientVpnConnection[]): void {
  ec2.on(DescribeClientVpnConnectionsCommand).resolves({ Connections });
}

function terminated(): unknown[] {
  return ec2.commandCalls(TerminateClientVpnConnectionsCommand).map((call) => call.args[0].input.ConnectionId);
}

/** Calls the handler, and takes the one log entry that has to come with every answer. */
async function askHandler(...events: unknown[]) {
  const event = events.length > 0 ? events[0] : connectEvent();
  const response = await handler(event, { getRemainingTimeInMillis: () => 30_000 });
  expectValidAnswer(response);
  expect(info.mock.calls.length + error.mock.calls.length).toBe(1);
  const [line] = [...info.mock.calls, ...error.mock.calls].flat();
  const entry: Record<string, unknown> = JSON.parse(line);
  expect(error.mock.calls.length).toBe(response.allow ? 0 : 1);
  expect(entry.decision).toBe(response.allow ? "allow" : "deny");
  return { response, entry, message: response["error-msg-on-denied-connection"] };
}

describe("the request", () => {
  test.each(BAD_EVENTS)("is denied and EC2 not called: %s", async (_, event, reason) => {
    const { response, entry, message } = await askHandler(event);
    expect(response.allow).toBe(false);
    expect(message).toMatch(/contact your VPN administrator/);
    expect(entry.reason).toContain(reason);
    expect(String(entry.reason).length).toBeLessThan(5_000);
    expect(ec2.calls()).toHaveLength(0);
  });

  test.each([
    ["groups", ["a", "b"]],
    ["groups", null],
    ["groups", "admins"],
    ["common-name", 7],
    ["platform", {}],
    ["public-ip", []],
    ["aws-client-version", null],
    ["a-field-not-yet-known", { deep: [1] }],
    ["__proto__", { allow: true }],
  ])("is allowed with an odd %s: %j", async (field, value) => {
    listed();
    const event = JSON.parse(`{${JSON.stringify(field)}: ${JSON.stringify(value)}}`);
    const { response } = await askHandler(
      Object.assign(event, connectEvent(field === "groups" ? { groups: value } : {})),
    );
    expect(response).toStrictEqual(ALLOWED);
  });

  test("is allowed with the four needed fields alone", async () => {
    listed();
    const { "schema-version": version, "connection-id": id, "endpoint-id": endpoint, username } = connectEvent();
    const event = { "schema-version": version, "connection-id": id, "endpoint-id": endpoint, username };
    expect((await askHandler(event)).response).toStrictEqual(ALLOWED);
  });

  test.each([
    ["empty", connectEvent({ username: "" })],
    ["null", connectEvent({ username: null })],
    ["absent", connectEvent({ username: undefined })],
  ])("is allowed, and EC2 not called, when the user name is %s", async (_, event) => {
    listed(row("cvpn-connection-of-another-device", { Username: "" }));
    const { response, entry } = await askHandler(event);
    expect(response).toStrictEqual(ALLOWED);
    expect(entry.reason).toBe("no username to compare");
    expect(ec2.calls()).toHaveLength(0);
  });

  test("with a user name of 1 MB gets an answer, and a log entry of bounded length", async () => {
    listed();
    const { response } = await askHandler(connectEvent({ username: "a".repeat(1_000_000) }));
    expect(response).toStrictEqual(ALLOWED);
    expect(info.mock.calls[0]?.[0].length).toBeLessThan(5_000);
  });
});

describe("the look-up", () => {
  test("asks EC2 once, for the endpoint and the user name, with the largest page", async () => {
    listed();
    await askHandler();
    expect(ec2.calls()).toHaveLength(1);
    expect(ec2.commandCalls(DescribeClientVpnConnectionsCommand)[0]?.args[0].input).toStrictEqual({
      ClientVpnEndpointId: ENDPOINT_ID,
      Filters: [{ Name: "username", Values: ["alice"] }],
      MaxResults: 1000,
      NextToken: undefined,
    });
  });

  test.each([
    ["CORP\\alice", "CORP\\\\alice"],
    ["a?ice", "a\\?ice"],
    ["*", "\\*"],
    ["\\*?", "\\\\\\*\\?"],
  ])("asks for %s as it is and escaped", async (username, escaped) => {
    listed();
    await askHandler(connectEvent({ username }));
    const { Filters } = ec2.commandCalls(DescribeClientVpnConnectionsCommand)[0]?.args[0].input ?? {};
    expect(Filters).toStrictEqual([{ Name: "username", Values: [username, escaped] }]);
  });

  test.each(["a.b+c@example.com", "007", "Zoë O'Brien & <Sons>", "[a-z]", " alice "])(
    "asks for %j as it is alone",
    async (username) => {
      listed();
      await askHandler(connectEvent({ username }));
      const { Filters } = ec2.commandCalls(DescribeClientVpnConnectionsCommand)[0]?.args[0].input ?? {};
      expect(Filters).toStrictEqual([{ Name: "username", Values: [username] }]);
    },
  );

  test.each(["active", "failed-to-terminate"] as const)("counts a connection that is %s", async (Code) => {
    listed(row("older", { Status: { Code } }));
    await askHandler();
    expect(terminated()).toStrictEqual(["older"]);
  });

  test.each(["terminating", "terminated"] as const)("passes over a connection that is %s", async (Code) => {
    listed(row("older", { Status: { Code } }));
    expect((await askHandler()).response).toStrictEqual(ALLOWED);
    expect(terminated()).toStrictEqual([]);
  });

  test.each<[string, ClientVpnConnection["Status"]]>([
    ["status", undefined],
    ["status code", {}],
    ["status that AWS documents", JSON.parse('{ "Code": "suspended" }')],
  ])("counts a connection without a %s: nothing says that it has ended", async (_, Status) => {
    listed(row("older", { Status }));
    expect((await askHandler()).response).toStrictEqual(ALLOWED);
    expect(terminated()).toStrictEqual(["older"]);
  });

  test("passes over the connection that is being authorized", async () => {
    listed(row(CONNECTION_ID), row("older"));
    await askHandler();
    expect(terminated()).toStrictEqual(["older"]);
  });

  const AT_NINE = "2026-11-21 09:00:00";
  test.each<[string, ClientVpnConnection[], string[]]>([
    [
      "a newer one",
      [
        row("newer", { ConnectionEstablishedTime: "2026-11-21 09:00:01" }),
        row("older", { ConnectionEstablishedTime: "2026-11-21 08:59:59" }),
      ],
      ["older"],
    ],
    [
      "one of the same second whose id sorts before its own",
      [row("a", { ConnectionEstablishedTime: AT_NINE }), row("z", { ConnectionEstablishedTime: AT_NINE })],
      ["z"],
    ],
    ["none without a time", [row("a"), row("b", { ConnectionEstablishedTime: "-" })], ["a", "b"]],
  ])("keeps, where the connection that is being authorized is listed too, %s", async (_, others, ended) => {
    listed(...others, row(CONNECTION_ID, { ConnectionEstablishedTime: AT_NINE }));
    expect((await askHandler()).response).toStrictEqual(ALLOWED);
    expect(terminated()).toStrictEqual(ended);
  });

  test.each(["bob", "Alice", "alice ", "ALICE"])("passes over a connection of %j", async (Username) => {
    listed(row("stranger's", { Username }), row("older"));
    await askHandler();
    expect(terminated()).toStrictEqual(["older"]);
  });

  test.each([undefined, ""])("believes the filter where a row's user name is %j", async (Username) => {
    listed(row("older", { Username }));
    await askHandler();
    expect(terminated()).toStrictEqual(["older"]);
  });

  test("finds CORP\\alice where a row has no user name", async () => {
    listed(row("older", { Username: undefined }));
    await askHandler(connectEvent({ username: "CORP\\alice" }));
    expect(terminated()).toStrictEqual(["older"]);
  });

  test.each(["*", "a?ice"])(
    "denies, and ends nobody, when user %s may be the owner of a row or not",
    async (username) => {
      listed(row("whose", { Username: undefined }));
      const { response, entry } = await askHandler(connectEvent({ username }));
      expect(response.allow).toBe(false);
      expect(terminated()).toStrictEqual([]);
      expect(JSON.stringify(entry.errors)).toContain("EC2 gave no username for whose");
    },
  );

  test.each(["*", "a?ice", "\\*"])("ends nobody else's connection for user %s", async (username) => {
    listed(row("alice's"), row("bob's", { Username: "bob" }), row("own", { Username: username }));
    await askHandler(connectEvent({ username }));
    expect(terminated()).toStrictEqual(["own"]);
  });

  test("denies, and ends nobody, when EC2 answers for another endpoint", async () => {
    listed(row("older", { ClientVpnEndpointId: "cvpn-endpoint-of-others" }));
    const { response, entry } = await askHandler();
    expect(response.allow).toBe(false);
    expect(terminated()).toStrictEqual([]);
    expect(JSON.stringify(entry.errors)).toContain("EC2 answered for another endpoint, cvpn-endpoint-of-others");
  });

  test("denies, and ends nobody, when the pages go round in a circle", async () => {
    const tokens = ["one", "two", "three"];
    let page = 0;
    ec2.on(DescribeClientVpnConnectionsCommand).callsFake(() => ({
      Connections: [row(`older-${page}`)],
      NextToken: tokens[page++ % tokens.length],
    }));
    const { response, entry } = await askHandler();
    expect(response.allow).toBe(false);
    expect(ec2.calls()).toHaveLength(4);
    expect(JSON.stringify(entry.errors)).toContain("EC2 gave the same page again");
  });

  test.each([
    ["the first", []],
    ["a later", [{ Connections: [row("older")], NextToken: "2" }]],
  ])("denies, and ends nobody, when %s page has no list of connections: EC2 sends an empty one", async (_, pages) => {
    const answers = [...pages, {}].values();
    ec2.on(DescribeClientVpnConnectionsCommand).callsFake(() => answers.next().value);
    const { response, entry } = await askHandler();
    expect(response.allow).toBe(false);
    expect(terminated()).toStrictEqual([]);
    expect(entry.errors).toStrictEqual([{ code: "UnexpectedAnswer", message: "EC2 gave no list of connections" }]);
  });

  test("goes through all pages, empty ones too", async () => {
    const pages = new Map<string | undefined, object>([
      [undefined, { Connections: [row("first")], NextToken: "2" }],
      ["2", { Connections: [], NextToken: "3" }],
      ["3", { Connections: [row("first"), row("other")] }],
    ]);
    ec2.on(DescribeClientVpnConnectionsCommand).callsFake(({ NextToken }) => pages.get(NextToken));
    await askHandler();
    expect(ec2.commandCalls(DescribeClientVpnConnectionsCommand)).toHaveLength(3);
    expect(terminated()).toStrictEqual(["first", "other"]);
  });

  test("that fails is a denial that ends nobody", async () => {
    const cause = Object.assign(new Error("role arn:aws:iam::123456789012:role/vpn is not authorized"), {
      name: "UnauthorizedOperation",
    });
    ec2.on(DescribeClientVpnConnectionsCommand).rejects(cause);
    const { response, entry, message } = await askHandler();
    expect(response.allow).toBe(false);
    expect(message).toMatch(/could not check.*try again.*administrator/);
    expect(entry.reason).toBe("older connections could not be looked up");
    expect(entry.errors).toStrictEqual([{ code: "UnauthorizedOperation", message: cause.message }]);
    expect(terminated()).toStrictEqual([]);
  });

  test("that fails on its second page ends nobody either", async () => {
    ec2
      .on(DescribeClientVpnConnectionsCommand)
      .resolvesOnce({ Connections: [row("older")], NextToken: "2" })
      .rejects(new Error("gone"));
    expect((await askHandler()).response.allow).toBe(false);
    expect(terminated()).toStrictEqual([]);
  });

  test("denies when one of the user's connections has no id to end it by", async () => {
    listed(row("older"), { Username: "alice", Status: { Code: "active" } });
    const { response, entry } = await askHandler();
    expect(response.allow).toBe(false);
    expect(JSON.stringify(entry.errors)).toContain("without its id");
  });
});

describe("the termination", () => {
  test("ends every older connection, each by its id and once, and allows", async () => {
    listed(row("a"), row("b"), row("b"), row("c", { Status: { Code: "failed-to-terminate" } }));
    const { response, entry } = await askHandler();
    expect(response).toStrictEqual(ALLOWED);
    const inputs = ec2.commandCalls(TerminateClientVpnConnectionsCommand).map((call) => call.args[0].input);
    expect(inputs).toStrictEqual(
      ["a", "b", "c"].map((ConnectionId) => ({ ClientVpnEndpointId: ENDPOINT_ID, ConnectionId })),
    );
    expect(entry).toMatchObject({ reason: "older connections terminated", terminated: ["a", "b", "c"] });
  });

  test("takes a connection that has gone already for ended", async () => {
    listed(row("gone"));
    const cause = Object.assign(new Error("no such connection"), { name: "InvalidClientVpnConnection.IdNotFound" });
    ec2.on(TerminateClientVpnConnectionsCommand).rejects(cause);
    expect((await askHandler()).response).toStrictEqual(ALLOWED);
  });

  test.each([
    ["the endpoint without statuses", { ClientVpnEndpointId: ENDPOINT_ID }],
    ["an empty list of statuses", { ConnectionStatuses: [] }],
    ["a status without codes", { ConnectionStatuses: [{}] }],
    ["terminating", { ConnectionStatuses: [{ CurrentStatus: { Code: "terminating" as const } }] }],
  ])("takes %s for a success", async (_, output) => {
    listed(row("older"));
    ec2.on(TerminateClientVpnConnectionsCommand).resolves(output);
    expect((await askHandler()).response).toStrictEqual(ALLOWED);
  });

  test("denies when EC2 says failed-to-terminate in an answer without error", async () => {
    listed(row("older"));
    ec2.on(TerminateClientVpnConnectionsCommand).resolves({
      ConnectionStatuses: [{ CurrentStatus: { Code: "failed-to-terminate", Message: "still there" } }],
    });
    const { response, entry, message } = await askHandler();
    expect(response.allow).toBe(false);
    expect(message).toMatch(/could not be ended. Disconnect your other devices/);
    expect(entry).toMatchObject({
      reason: "older connections could not be terminated",
      terminated: [],
      notTerminated: ["older"],
      errors: [{ connectionId: "older", code: "failed-to-terminate", message: "still there" }],
    });
  });

  test.each<[string, TerminateClientVpnConnectionsCommandOutput]>([
    ["the connection is still active", { ConnectionStatuses: [{ CurrentStatus: { Code: "active" } }], $metadata: {} }],
    [
      "the connection has a status that AWS does not document",
      JSON.parse('{ "ConnectionStatuses": [{ "CurrentStatus": { "Code": "suspended" } }] }'),
    ],
    ["a connection of another endpoint was ended", { ClientVpnEndpointId: "cvpn-endpoint-of-others", $metadata: {} }],
    ["nothing at all", { $metadata: {} }],
  ])("denies when EC2 says, without an error, that %s", async (_, output) => {
    listed(row("older"));
    ec2.on(TerminateClientVpnConnectionsCommand).resolves(output);
    const { response, entry } = await askHandler();
    expect(response.allow).toBe(false);
    expect(entry).toMatchObject({ terminated: [], notTerminated: ["older"], errors: [{ connectionId: "older" }] });
  });

  test("goes on with the others when one connection cannot be ended", async () => {
    const ids = Array.from({ length: 25 }, (_, i) => `older-${i}`).sort();
    listed(...ids.map((id) => row(id)));
    ec2.on(TerminateClientVpnConnectionsCommand, { ConnectionId: "older-0" }).rejects(new Error("no"));
    const { response, entry } = await askHandler();
    expect(response.allow).toBe(false);
    expect(terminated()).toStrictEqual(ids);
    expect(entry.terminated).toHaveLength(24);
    expect(entry.notTerminated).toStrictEqual(["older-0"]);
    expect(entry.errors).toMatchObject([{ connectionId: "older-0" }]);
  });

  test("has ten requests at once under way, and not more", async () => {
    listed(...Array.from({ length: 40 }, (_, i) => row(`older-${i}`)));
    let underWay = 0;
    let most = 0;
    ec2.on(TerminateClientVpnConnectionsCommand).callsFake(async () => {
      most = Math.max(most, ++underWay);
      await new Promise((resolve) => setTimeout(resolve, 5));
      underWay--;
      return ENDED;
    });
    expect((await askHandler()).response).toStrictEqual(ALLOWED);
    expect(most).toBe(10);
  });
});

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

  test.each([-1, 0, 500, 1_000, 1_050])("denies at once when only %d ms remain", async (remaining) => {
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

test("answers when the context's clock fails", async () => {
  const getRemainingTimeInMillis = () => JSON.parse("no clock");
  const response = await handler(connectEvent(), { getRemainingTimeInMillis });
  expectValidAnswer(response);
  expect(response.allow).toBe(false);
});

describe("the log entry", () => {
  test("that cannot be written costs nobody the connection", async () => {
    listed(row("older"));
    info.mockImplementation(() => {
      throw new Error("standard output is gone");
    });
    expect(await handler(connectEvent())).toStrictEqual(ALLOWED);
  });

  test("of an allowed connection has what the administrator asks for", async () => {
    listed(row("older"));
    const { entry } = await askHandler();
    expect(entry).toStrictEqual({ ...entryOfTerminated("older"), durationMs: expect.any(Number) });
  });

  test("names user, endpoint and connection of an invalid request too", async () => {
    const { entry } = await askHandler(connectEvent({ "schema-version": "v4" }));
    expect(entry).toMatchObject({ username: "alice", endpointId: ENDPOINT_ID, connectionId: CONNECTION_ID });
  });

  test("is an object where Lambda's log format is JSON", async () => {
    vi.stubEnv("AWS_LAMBDA_LOG_FORMAT", "JSON");
    listed();
    await handler(connectEvent());
    expect(info.mock.calls).toStrictEqual([[expect.objectContaining({ decision: "allow", username: "alice" })]]);
  });

  test("stays one line whatever the user name holds", async () => {
    listed();
    const username = 'alice\n{"decision":"allow","username":"mallory"}\r\n';
    const { entry } = await askHandler(connectEvent({ username }));
    expect(info.mock.calls[0]?.[0]).not.toMatch(/[\r\n]/);
    expect(entry.username).toBe(username);
  });

  test("cuts a message of EC2 that is endless, and a list of errors that is", async () => {
    listed(...Array.from({ length: 30 }, (_, i) => row(`older-${i}`)));
    ec2.on(TerminateClientVpnConnectionsCommand).rejects(new Error("x".repeat(1_000_000)));
    const { entry } = await askHandler();
    expect(entry.notTerminated).toHaveLength(30);
    expect(entry.errors).toHaveLength(10);
    expect(entry.errorCount).toBe(30);
    expect(JSON.stringify(entry).length).toBeLessThan(50_000);
  });

  test("has the first ten errors, in the order in which they came", async () => {
    const ids = Array.from({ length: 25 }, (_, i) => `older-${String(i).padStart(2, "0")}`);
    listed(...ids.map((id) => row(id)));
    ec2
      .on(TerminateClientVpnConnectionsCommand)
      .callsFake(({ ConnectionId }) => Promise.reject(new Error(ConnectionId)));
    const { entry } = await askHandler();
    const first = ids.slice(0, 10).map((id) => ({ connectionId: id, code: "Error", message: id }));
    expect(entry.errors).toStrictEqual(first);
  });

  test("has at most a hundred ids in each list, and beside it how many there are", async () => {
    const ids = Array.from({ length: 250 }, (_, i) => `older-${String(i).padStart(3, "0")}`);
    listed(...ids.map((id) => row(id)));
    ec2
      .on(TerminateClientVpnConnectionsCommand)
      .callsFake(({ ConnectionId }) => (ConnectionId < "older-120" ? Promise.reject(new Error("no")) : ENDED));
    const { entry } = await askHandler();
    expect(entry).toMatchObject({ terminatedCount: 130, notTerminatedCount: 120 });
    expect(entry.terminated).toStrictEqual(ids.slice(120, 220));
    expect(entry.notTerminated).toStrictEqual(ids.slice(0, 100));
  });

  test.each(["oops", undefined, null, 7, { code: "odd" }])("is written when the SDK throws %j", async (thrown) => {
    ec2.on(DescribeClientVpnConnectionsCommand).callsFake(() => Promise.reject(thrown));
    const { response, entry } = await askHandler();
    expect(response.allow).toBe(false);
    expect(entry.errors).toStrictEqual([{ code: "Unknown", message: String(thrown) }]);
  });
});
