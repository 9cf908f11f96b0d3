import { spawn } from "node:child_process";
import { once } from "node:events";
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { clockSkewed, type Fault, THROTTLED } from "../ec2/faults.ts";
import { TokenBucket } from "../ec2/token-bucket.ts";
import { ALLOWED, entryOfTerminated, expectValidAnswer } from "../helpers/answers.ts";
import { builtForTest, startBuilt, statuses, stopBuilt, useEc2 } from "../helpers/built.ts";
import { BAD_EVENTS, CONNECTION_ID, connectEvent } from "../helpers/events.ts";
import { DIST, type Lambda } from "../helpers/lambda.ts";

// The built file, in a process of its own, over HTTP. One process serves all tests, as a warm container does.

const ec2 = useEc2();
let lambda: Lambda;

beforeAll(async () => {
  lambda = await startBuilt(ec2.env);
});

afterAll(() => stopBuilt(lambda));

/** Invokes the built handler, and checks what holds for every answer and its log entry. */
async function askHandler(event: unknown, remaining = 30_000) {
  const { response, log, durationMs } = await lambda.invoke(event, { remaining });
  expectValidAnswer(response);
  expect(log).toStrictEqual([{ level: response.allow ? "info" : "error", message: [expect.any(String)] }]);
  const line = String(log[0]?.message[0]);
  expect(line).not.toMatch(/[\r\n]/);
  const entry: Record<string, unknown> = JSON.parse(line);
  expect(entry.decision).toBe(response.allow ? "allow" : "deny");
  return { response, entry, durationMs };
}

function calls(): string[] {
  return ec2.requests.map(({ action }) => action.replace("ClientVpnConnections", ""));
}

describe("one session per user", () => {
  test("ends alice's older connection, leaves bob's alone, and allows", async () => {
    const laptop = ec2.addConnection();
    const bob = ec2.addConnection({ username: "bob" });
    ec2.addConnection({ connectionId: CONNECTION_ID });
    const { response, entry } = await askHandler(connectEvent());
    expect(response).toStrictEqual(ALLOWED);
    expect(statuses(ec2.connections)).toStrictEqual(["terminated", "active", "active"]);
    expect(bob.endedAt).toBeUndefined();
    expect(calls()).toStrictEqual(["Describe", "Terminate"]);
    expect(entry).toStrictEqual({ ...entryOfTerminated(laptop.connectionId), durationMs: expect.any(Number) });
  });

  test("costs one call when there is nobody to end, whatever the number of others", async () => {
    for (let i = 0; i < 3_000; i++) ec2.addConnection({ username: `user-${i}` });
    expect((await askHandler(connectEvent())).response).toStrictEqual(ALLOWED);
    expect(calls()).toStrictEqual(["Describe"]);
  });

  test("acts once: the second answer finds the terminated connection, which stays listed, and lets it be", async () => {
    ec2.addConnection();
    await askHandler(connectEvent());
    await askHandler(connectEvent());
    expect(calls()).toStrictEqual(["Describe", "Terminate", "Describe"]);
  });

  test("ends what failed to terminate before, and passes over what is ending or has ended", async () => {
    const rows = (["failed-to-terminate", "terminating", "terminated"] as const).map((status) =>
      ec2.addConnection({ status }),
    );
    expect((await askHandler(connectEvent())).response.allow).toBe(true);
    expect(statuses(rows)).toStrictEqual(["terminated", "terminating", "terminated"]);
    expect(calls()).toStrictEqual(["Describe", "Terminate"]);
  });

  test("believes the filter where a row has no user name", async () => {
    const older = ec2.addConnection({ username: undefined, filterUsername: "alice" });
    const stranger = ec2.addConnection({ username: undefined, filterUsername: "bob" });
    await askHandler(connectEvent());
    expect(statuses([older, stranger])).toStrictEqual(["terminated", "active"]);
  });

  test("goes through all pages of more than 2,000 rows", async () => {
    for (let i = 0; i < 2_100; i++) ec2.addConnection({ status: "terminated" });
    const last = ec2.addConnection();
    expect((await askHandler(connectEvent())).response).toStrictEqual(ALLOWED);
    expect(calls()).toStrictEqual(["Describe", "Describe", "Describe", "Terminate"]);
    expect(last.status).toBe("terminated");
  });

  test("ends 40 older connections", async () => {
    const rows = Array.from({ length: 40 }, () => ec2.addConnection());
    const { response, entry } = await askHandler(connectEvent());
    expect(response).toStrictEqual(ALLOWED);
    expect(new Set(statuses(rows))).toStrictEqual(new Set(["terminated"]));
    expect(entry.terminated).toHaveLength(40);
    expect(calls()).toHaveLength(41);
  });

  test("calls nobody for a device without a user name", async () => {
    ec2.addConnection({ username: "", filterUsername: "" });
    const { response, entry } = await askHandler(connectEvent({ username: "" }));
    expect(response).toStrictEqual(ALLOWED);
    expect(entry.reason).toBe("no username to compare");
    expect(calls()).toStrictEqual([]);
  });

  test.each(BAD_EVENTS)("answers %s with a denial", async (_, event, reason) => {
    const { response, entry } = await askHandler(event);
    expect(response.allow).toBe(false);
    expect(entry.reason).toContain(reason);
    expect(calls()).toStrictEqual([]);
  });

  test("answers a user name of 1 MB", async () => {
    expect((await askHandler(connectEvent({ username: "a".repeat(1_000_000) }))).response.allow).toBe(true);
  });
});

describe.each([true, false])("user names, where EC2's filter reads wildcards: %s", (wildcards) => {
  beforeEach(() => {
    ec2.wildcards = wildcards;
  });

  test.each([
    "CORP\\alice",
    "*",
    "a?ice",
    "\\",
    "alice@example.com",
    'Zoë O\'Brien & <Sons> "quoted"',
    " alice ",
    "007",
    "1e3",
    "true",
    "__proto__",
    "[a-z]+",
    "用户",
    "a=b&c%20d+e",
  ])("ends the connection of %j and nobody else's", async (username) => {
    const own = ec2.addConnection({ username });
    const strangers = ["alice", "bob", "CORPalice", "corp\\alice", "CORP\\\\alice", "Alice", "7"].map((name) =>
      ec2.addConnection({ username: name }),
    );
    expect((await askHandler(connectEvent({ username }))).response).toStrictEqual(ALLOWED);
    expect(own.status).toBe("terminated");
    expect(new Set(statuses(strangers))).toStrictEqual(new Set(["active"]));
  });
});

test("a user named * never ends the connection of a row without user name", async () => {
  const stranger = ec2.addConnection({ username: undefined, filterUsername: "bob" });
  const { response, entry } = await askHandler(connectEvent({ username: "*" }));
  expect(response.allow).toBe(false);
  expect(stranger.status).toBe("active");
  expect(JSON.stringify(entry.errors)).toContain(stranger.connectionId);
});

describe("faults that pass", () => {
  const passing: [name: string, fault: Fault, times: number][] = [
    ["throttled four times", THROTTLED, 4],
    [
      "throttled with a date to come back at",
      { ...THROTTLED, headers: { "retry-after": new Date(Date.now() + 60_000).toUTCString() } },
      2,
    ],
    ["500 InternalError", { status: 500, code: "InternalError", message: "An internal error has occurred" }, 2],
    ["503 Unavailable", { status: 503, code: "Unavailable", message: "The server is overloaded" }, 2],
    ["a 503 with a web page", { status: 503, code: "", message: "", body: "<html><p>Try later</html>" }, 2],
    ["a 502 with an empty body", { status: 502, code: "", message: "", body: "" }, 2],
    ["a 429 with a text", { status: 429, code: "", message: "", body: "slow down" }, 2],
    ["a 400 that throttles", { status: 400, code: "Throttling", message: "Rate exceeded" }, 2],
    ["the socket reset", "reset", 2],
    ["the body cut off", "truncate", 2],
    ["a clock that is an hour wrong", clockSkewed(3_600_000), 1],
  ];

  test.each(passing)("look-up: %s, then served, is a success", async (_, fault, times) => {
    const older = ec2.addConnection();
    ec2.fail("DescribeClientVpnConnections", fault, times);
    expect((await askHandler(connectEvent())).response).toStrictEqual(ALLOWED);
    expect(older.status).toBe("terminated");
    expect(calls()).toHaveLength(times + 2);
  });

  test.each(passing)("termination: %s, then served, is a success", async (_, fault, times) => {
    const older = ec2.addConnection();
    ec2.fail("TerminateClientVpnConnections", fault, times);
    const { response, entry } = await askHandler(connectEvent());
    expect(response).toStrictEqual(ALLOWED);
    expect(entry.terminated).toStrictEqual([older.connectionId]);
  });

  test("throttled four times still fits into the time that Lambda gives by default", async () => {
    ec2.fail("DescribeClientVpnConnections", THROTTLED, 4);
    expect((await askHandler(connectEvent(), 3_000)).response).toStrictEqual(ALLOWED);
  });

  const ACTIONS = ["DescribeClientVpnConnections", "TerminateClientVpnConnections"] as const;
  const deadSockets = ["hang", "stall", "drip"] as const;

  test("no socket outlives its login, whatever becomes of its calls", async () => {
    for (const fault of [undefined, THROTTLED, ...deadSockets]) {
      for (let i = 0; i < 3; i++) ec2.addConnection();
      if (fault) for (const action of ACTIONS) ec2.fail(action, fault);
      expect((await askHandler(connectEvent(), 3_000)).response).toStrictEqual(ALLOWED);
      await vi.waitFor(async () => expect(await ec2.openSockets()).toBe(0));
    }
  });

  test("sockets that died while Lambda froze the process do not cost the next login", async () => {
    for (let i = 0; i < 10; i++) ec2.addConnection();
    expect((await askHandler(connectEvent())).entry.terminated).toHaveLength(10);
    ec2.killSockets();
    const { response, durationMs } = await askHandler(connectEvent(), 3_000);
    expect(response).toStrictEqual(ALLOWED);
    expect(durationMs).toBeLessThan(900);
  });

  test("terminations that time out give their sockets back", async () => {
    for (let i = 0; i < 60; i++) ec2.addConnection();
    ec2.fail("TerminateClientVpnConnections", "hang", Number.POSITIVE_INFINITY);
    const answer = askHandler(connectEvent(), 5_000);
    let most = 0;
    const watch = setInterval(async () => {
      most = Math.max(most, await ec2.openSockets());
    }, 20);
    expect((await answer).response.allow).toBe(false);
    clearInterval(watch);
    expect(calls().length).toBeGreaterThan(31);
    expect(most).toBeGreaterThan(0);
    // Ten at once, and those that are being closed.
    expect(most).toBeLessThanOrEqual(20);
  });

  test.each(deadSockets)("one dead socket (%s) costs a second try, not the login", async (fault) => {
    ec2.fail("DescribeClientVpnConnections", fault);
    const { response, durationMs } = await askHandler(connectEvent(), 15_000);
    expect(response).toStrictEqual(ALLOWED);
    expect(durationMs).toBeGreaterThan(4_000);
    expect(durationMs).toBeLessThan(9_000);
  });

  test.each(deadSockets)("one dead socket (%s) does not cost the login within 3 s either", async (fault) => {
    ec2.fail("DescribeClientVpnConnections", fault);
    expect((await askHandler(connectEvent(), 3_000)).response).toStrictEqual(ALLOWED);
  });

  test.each(deadSockets)("one dead socket (%s) does not cost a termination either", async (fault) => {
    const older = ec2.addConnection();
    ec2.fail("TerminateClientVpnConnections", fault);
    expect((await askHandler(connectEvent(), 3_000)).response).toStrictEqual(ALLOWED);
    expect(older.status).toBe("terminated");
  });

  test("thirty logins at once, where EC2 serves ten and then ten a second, all get in", async () => {
    ec2.buckets = { DescribeClientVpnConnections: new TokenBucket(10, 10) };
    const logins = Array.from({ length: 30 }, (_, i) => askHandler(connectEvent({ username: `user-${i}` })));
    for (const { response } of await Promise.all(logins)) expect(response).toStrictEqual(ALLOWED);
    expect(calls().length).toBeGreaterThan(30);
    expect(calls().length).toBeLessThan(200);
  });

  test("forty logins at once, each throttled four times, all get in: no quota of retries runs out", async () => {
    const throttledTimes = new Map<string, number>();
    const firstFour = (params: URLSearchParams) => {
      const username = String(params.get("Filter.1.Value.1"));
      const times = (throttledTimes.get(username) ?? 0) + 1;
      throttledTimes.set(username, times);
      return times <= 4 ? THROTTLED : undefined;
    };
    ec2.fail("DescribeClientVpnConnections", firstFour, Number.POSITIVE_INFINITY);
    const logins = Array.from({ length: 40 }, (_, i) => askHandler(connectEvent({ username: `user-${i}` })));
    for (const { response } of await Promise.all(logins)) expect(response).toStrictEqual(ALLOWED);
    expect(calls()).toHaveLength(200);
  });
});

describe("faults that stay", () => {
  test.each<[name: string, fault: Fault, code: string]>([
    [
      "UnauthorizedOperation",
      {
        status: 403,
        code: "UnauthorizedOperation",
        message:
          "You are not authorized to perform this operation. User: arn:aws:sts::123456789012:assumed-role/vpn/AWSClientVPN",
      },
      "UnauthorizedOperation",
    ],
    ["AuthFailure", { status: 401, code: "AuthFailure", message: "credentials not valid" }, "AuthFailure"],
    ["something that is not XML", "not-xml", "Error"],
    ["a web page with status 404", { status: 404, code: "", message: "", body: "<html><p>Not here</html>" }, "Error"],
    [
      "400 InvalidParameterValue",
      { status: 400, code: "InvalidParameterValue", message: "no" },
      "InvalidParameterValue",
    ],
  ])("look-up: %s is a denial at once, ends nobody, and is logged in EC2's words", async (_, fault, code) => {
    const older = ec2.addConnection();
    ec2.fail("DescribeClientVpnConnections", fault, 100);
    const { response, entry } = await askHandler(connectEvent());
    expect(response.allow).toBe(false);
    expect(response["error-msg-on-denied-connection"]).toMatch(/could not check.*try again/);
    expect(older.status).toBe("active");
    expect(calls()).toStrictEqual(["Describe"]);
    const ofEc2 = typeof fault === "object" && fault.body === undefined;
    const message = ofEc2 ? fault.message : expect.stringContaining("XML parse error");
    expect(entry.errors).toStrictEqual([{ code, message }]);
  });

  test("an endpoint that does not exist is a denial at once", async () => {
    const { response, entry } = await askHandler(connectEvent({ "endpoint-id": "cvpn-endpoint-00000000000000000" }));
    expect(response.allow).toBe(false);
    expect(entry.errors).toMatchObject([{ code: "InvalidClientVpnEndpointId.NotFound" }]);
    expect(calls()).toStrictEqual(["Describe"]);
  });

  test.each<[fault: Fault, message: string]>([
    ["same-token", "EC2 gave the same page again"],
    ["another-endpoint", "EC2 answered for another endpoint"],
    ["without connectionId", "without its id"],
    ["empty", "EC2 gave no list of connections"],
    ["web-page", "EC2 gave no list of connections"],
    ["error-in-200", "EC2 gave no list of connections"],
    ["other-document", "EC2 gave no list of connections"],
  ])("look-up: an answer that leaves the question open (%s) is a denial at once", async (fault, message) => {
    const older = ec2.addConnection();
    ec2.fail("DescribeClientVpnConnections", fault, 100);
    const { response, entry, durationMs } = await askHandler(connectEvent());
    expect(response.allow).toBe(false);
    expect(durationMs).toBeLessThan(2_000);
    expect(older.status).toBe("active");
    expect(entry.errors).toMatchObject([{ code: "UnexpectedAnswer", message: expect.stringContaining(message) }]);
  });

  test.each<Fault>(["duplicates", "odd-statuses", "without status", "without username", "without clientVpnEndpointId"])(
    "look-up: rows that are odd (%s) do not keep the older connection alive",
    async (fault) => {
      const older = ec2.addConnection();
      ec2.fail("DescribeClientVpnConnections", fault);
      const { response, entry } = await askHandler(connectEvent());
      expect(response).toStrictEqual(ALLOWED);
      expect(older.status).toBe("terminated");
      expect(entry.terminated).toStrictEqual([older.connectionId]);
    },
  );

  test("look-up: a page that fails after others were read is a denial that ends nobody", async () => {
    ec2.pageSize = 5;
    for (let i = 0; i < 12; i++) ec2.addConnection();
    const lastPage = (params: URLSearchParams): Fault | undefined =>
      atob(params.get("NextToken") ?? "") === "offset 10"
        ? { status: 403, code: "AuthFailure", message: "" }
        : undefined;
    ec2.fail("DescribeClientVpnConnections", lastPage);
    const { response } = await askHandler(connectEvent());
    expect(response.allow).toBe(false);
    expect(calls()).toStrictEqual(["Describe", "Describe", "Describe"]);
    expect(new Set(statuses(ec2.connections))).toStrictEqual(new Set(["active"]));
  });

  test.each<[name: string, fault: Fault, code: string]>([
    ["UnauthorizedOperation", { status: 403, code: "UnauthorizedOperation", message: "no" }, "UnauthorizedOperation"],
    ["failed-to-terminate in a 200", "failed-to-terminate", "failed-to-terminate"],
    ["a status that AWS does not document", "odd-status", "suspended"],
    ["an answer for another endpoint", "another-endpoint", "UnexpectedAnswer"],
    ["something that is not XML", "not-xml", "Error"],
    ["an empty answer", "empty", "UnexpectedAnswer"],
    ["a web page", "web-page", "UnexpectedAnswer"],
    ["an error document with status 200", "error-in-200", "UnexpectedAnswer"],
    ["the answer to another action", "other-document", "UnexpectedAnswer"],
  ])("termination: %s for one of three is a denial that ends the other two", async (_, fault, code) => {
    const [first, second, third] = [ec2.addConnection(), ec2.addConnection(), ec2.addConnection()];
    ec2.fail("TerminateClientVpnConnections", (params) =>
      params.get("ConnectionId") === second.connectionId ? fault : undefined,
    );
    const { response, entry } = await askHandler(connectEvent());
    expect(response.allow).toBe(false);
    expect(response["error-msg-on-denied-connection"]).toMatch(/could not be ended. Disconnect/);
    expect(statuses([first, third])).toStrictEqual(["terminated", "terminated"]);
    expect(entry.notTerminated).toStrictEqual([second.connectionId]);
    expect(new Set(Object(entry.terminated))).toStrictEqual(new Set([first.connectionId, third.connectionId]));
    expect(entry.errors).toMatchObject([{ connectionId: second.connectionId, code }]);
  });

  test("a connection that has gone between the two calls is fine", async () => {
    const gone = ec2.addConnection();
    ec2.fail("TerminateClientVpnConnections", () => {
      gone.endedAt = new Date();
      return undefined;
    });
    const { response, entry } = await askHandler(connectEvent());
    expect(response).toStrictEqual(ALLOWED);
    expect(entry.terminated).toStrictEqual([gone.connectionId]);
  });

  test("a termination that was carried out, but whose answer got lost, is a success", async () => {
    const older = ec2.addConnection();
    ec2.fail("TerminateClientVpnConnections", "truncate");
    expect((await askHandler(connectEvent())).response).toStrictEqual(ALLOWED);
    expect(older.status).toBe("terminated");
    expect(calls()).toStrictEqual(["Describe", "Terminate", "Terminate"]);
  });

  test("an answer without statuses is a success", async () => {
    ec2.addConnection();
    ec2.fail("TerminateClientVpnConnections", "no-statuses");
    expect((await askHandler(connectEvent())).response).toStrictEqual(ALLOWED);
  });
});

describe("a login that EC2 lists already", () => {
  const second = (number: number) => new Date(1_700_000_000_000 + number * 1_000);

  test("leaves those that are newer, and ends those that are older", async () => {
    const rows = [1, 2, 3].map((number) => ec2.addConnection({ establishedAt: second(number) }));
    ec2.addConnection({ connectionId: CONNECTION_ID, establishedAt: second(2), status: "active" });
    const ofTheSameSecond = ["cvpn-connection-0", "cvpn-connection-f"].map((connectionId) =>
      ec2.addConnection({ connectionId, establishedAt: second(2) }),
    );
    const { response } = await askHandler(connectEvent());
    expect(response).toStrictEqual(ALLOWED);
    expect(statuses([...rows.slice(0, 1), ...rows.slice(2)])).toStrictEqual(["terminated", "active"]);
    expect(statuses(ofTheSameSecond)).toStrictEqual(["active", "terminated"]);
  });

  test.each(["", "-"])("without a time (%j) is the newest", async (establishedAt) => {
    const rows = [1, 2].map((number) => ec2.addConnection({ establishedAt: second(number) }));
    ec2.addConnection({ connectionId: CONNECTION_ID, establishedAt });
    expect((await askHandler(connectEvent())).response).toStrictEqual(ALLOWED);
    expect(statuses(rows)).toStrictEqual(["terminated", "terminated"]);
  });

  test("and was ended by a newer one meanwhile, does not end that one", async () => {
    ec2.addConnection({ connectionId: CONNECTION_ID, establishedAt: second(1), status: "terminated" });
    const newer = ec2.addConnection({ establishedAt: second(2) });
    await askHandler(connectEvent());
    expect(newer.status).toBe("active");
  });

  test("as four others of the same moment: the newest is left, and only the newest", async () => {
    const rows = [3, 1, 4, 1, 2].map((number, i) =>
      ec2.addConnection({ connectionId: `cvpn-connection-${i}`, establishedAt: second(number) }),
    );
    const answers = rows.map(({ connectionId }) => askHandler(connectEvent({ "connection-id": connectionId })));
    for (const { response } of await Promise.all(answers)) expect(response).toStrictEqual(ALLOWED);
    expect(statuses(rows)).toStrictEqual(["terminated", "terminated", "active", "terminated", "terminated"]);
  });
});

describe("the environment", () => {
  async function askHandlerWith(env: Record<string, string>, event = connectEvent()) {
    const other = await builtForTest(env);
    const invocation = await other.invoke(event, { remaining: 2_500 });
    expectValidAnswer(invocation.response);
    return invocation;
  }

  test("with Lambda's JSON log format makes the log entry an object", async () => {
    const { log } = await askHandlerWith({ ...ec2.env, AWS_LAMBDA_LOG_FORMAT: "JSON" });
    expect(log).toStrictEqual([{ level: "info", message: [expect.objectContaining({ username: "alice" })] }]);
  });

  test("with wrong credentials is a denial at once, after one call", async () => {
    const { response, log } = await askHandlerWith({ ...ec2.env, AWS_SECRET_ACCESS_KEY: "wrong" });
    expect(response.allow).toBe(false);
    expect(String(log[0]?.message[0])).toContain('"code":"AuthFailure"');
    expect(ec2.refused).toBe(1);
  });

  test("without a Region is a denial", async () => {
    const { AWS_REGION: _, ...env } = ec2.env;
    const { response, log } = await askHandlerWith(env);
    expect(response.allow).toBe(false);
    expect(String(log[0]?.message[0])).toContain("Region is missing");
  });

  test.each([
    ["nobody listening", "http://127.0.0.1:1", /"code":"ECONNREFUSED"/],
    ["a name that does not exist", "http://ec2.invalid", /"code":"(ENOTFOUND|EAI_AGAIN)"/],
  ])("with %s is a denial after all the time for trying, and says so", async (_, url, code) => {
    const { response, log, durationMs } = await askHandlerWith({ ...ec2.env, AWS_ENDPOINT_URL_EC2: url });
    expect(response.allow).toBe(false);
    expect(String(log[0]?.message[0])).toMatch(code);
    expect(durationMs).toBeGreaterThan(1_000);
    expect(durationMs).toBeLessThan(2_000);
  });

  test("is left alone: nothing of a login keeps the process alive", async () => {
    ec2.addConnection();
    const script = `require(${JSON.stringify(`${DIST}index.cjs`)}).handler(${JSON.stringify(connectEvent())})`;
    const child = spawn(process.execPath, ["-e", script], { env: { ...process.env, ...ec2.env }, stdio: "ignore" });
    const startedAt = performance.now();
    expect(await once(child, "exit")).toStrictEqual([0, null]);
    expect(performance.now() - startedAt).toBeLessThan(4_000);
    expect(statuses(ec2.connections)).toStrictEqual(["terminated"]);
  });
});
