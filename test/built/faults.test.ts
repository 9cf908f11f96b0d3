import { describe, expect, test } from "vitest";
import { type Action, clockSkewed, type Fault, THROTTLED } from "../ec2/faults.ts";
import { ALLOWED } from "../helpers/answers.ts";
import { callsTo, statuses, useBuilt, useEc2, useSharedEc2 } from "../helpers/built.ts";
import { connectEvent } from "../helpers/events.ts";

const ACTIONS = ["DescribeClientVpnConnections", "TerminateClientVpnConnections"] as const;
const ALWAYS = Number.POSITIVE_INFINITY;

// Each has a user of its own, so that they can wait together.
describe.concurrent("faults that pass", () => {
  const ec2 = useSharedEc2();
  const { askHandler } = useBuilt(ec2);
  /** The less time there is, the less a throttled login waits between two calls. */
  const EIGHT_SECONDS = 8_000;

  /** Gives a user a connection, and what goes wrong with the calls of that user's login. */
  function connect(username: string) {
    const older = ec2.addConnection({ username });
    const isOfUser = (params: URLSearchParams) =>
      [params.get("Filter.1.Value.1"), params.get("ConnectionId")].some(
        (is) => is === username || is === older.connectionId,
      );
    return {
      older,
      fail: (action: Action, fault: Fault, times = ALWAYS) =>
        ec2.fail(action, (params) => (isOfUser(params) ? fault : undefined), times),
      askHandler: (remaining: number) => askHandler(connectEvent({ username }), remaining),
      calls: () => callsTo(ec2, isOfUser),
    };
  }

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
  ];

  test.each(passing)("look-up: %s, then served, is a success", async (name, fault, times) => {
    const user = connect(`look-up: ${name}`);
    user.fail("DescribeClientVpnConnections", fault, times);
    expect((await user.askHandler(EIGHT_SECONDS)).response).toStrictEqual(ALLOWED);
    expect(user.older.status).toBe("terminated");
    expect(user.calls()).toHaveLength(times + 2);
  });

  test.each(passing)("termination: %s, then served, is a success", async (name, fault, times) => {
    const user = connect(`termination: ${name}`);
    user.fail("TerminateClientVpnConnections", fault, times);
    const { response, entry } = await user.askHandler(EIGHT_SECONDS);
    expect(response).toStrictEqual(ALLOWED);
    expect(entry.terminated).toStrictEqual([user.older.connectionId]);
  });

  test.each(ACTIONS)(
    "what EC2 itself has said last is in the log when the rest of the time brings no answer: %s",
    async (action) => {
      const user = connect(`${action} hangs at last`);
      user.fail(action, { status: 503, code: "Unavailable", message: "The server is overloaded" }, 1);
      user.fail(action, THROTTLED, 1);
      user.fail(action, "hang");
      const { response, entry } = await user.askHandler(EIGHT_SECONDS);
      expect(response.allow).toBe(false);
      expect(entry.errors).toMatchObject([{ code: "RequestLimitExceeded", message: "Request limit exceeded." }]);
    },
  );

  test("a termination that hangs is not called throttled because the look-up was", async () => {
    const user = connect("throttled, and then without an answer");
    user.fail("DescribeClientVpnConnections", THROTTLED, 1);
    user.fail("TerminateClientVpnConnections", "hang");
    const { entry } = await user.askHandler(EIGHT_SECONDS);
    expect(entry.errors).toStrictEqual([
      { connectionId: user.older.connectionId, code: "TimeoutError", message: "no answer from EC2 in time" },
    ]);
  });
});

const ec2 = useEc2();
const { askHandler } = useBuilt(ec2);

test.each(ACTIONS)("a clock that is an hour wrong is set right, and is a success: %s", async (action) => {
  const older = ec2.addConnection();
  ec2.fail(action, clockSkewed(3_600_000));
  const { response, entry } = await askHandler(connectEvent());
  expect(response).toStrictEqual(ALLOWED);
  expect(entry.terminated).toStrictEqual([older.connectionId]);
  expect(older.status).toBe("terminated");
  expect(callsTo(ec2)).toHaveLength(3);
});

test("forty logins at once, each throttled four times, all get in: no quota of retries runs out", async () => {
  const throttledTimes = new Map<string, number>();
  const firstFour = (params: URLSearchParams) => {
    const username = String(params.get("Filter.1.Value.1"));
    const times = (throttledTimes.get(username) ?? 0) + 1;
    throttledTimes.set(username, times);
    return times <= 4 ? THROTTLED : undefined;
  };
  ec2.fail("DescribeClientVpnConnections", firstFour, ALWAYS);
  const logins = Array.from({ length: 40 }, (_, i) => askHandler(connectEvent({ username: `user-${i}` }), 20_000));
  for (const { response } of await Promise.all(logins)) expect(response).toStrictEqual(ALLOWED);
  expect(callsTo(ec2)).toHaveLength(200);
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
    expect(response["error-msg-on-denied-connection"]).toMatch(/could not check.*try again.*administrator/);
    expect(entry.reason).toBe("older connections could not be looked up");
    expect(older.status).toBe("active");
    expect(callsTo(ec2)).toStrictEqual(["Describe"]);
    const ofEc2 = typeof fault === "object" && fault.body === undefined;
    const message = ofEc2 ? fault.message : expect.stringContaining("XML parse error");
    expect(entry.errors).toStrictEqual([{ code, message }]);
  });

  test("an endpoint that does not exist is a denial at once", async () => {
    const { response, entry } = await askHandler(connectEvent({ "endpoint-id": "cvpn-endpoint-00000000000000000" }));
    expect(response.allow).toBe(false);
    expect(entry.errors).toMatchObject([{ code: "InvalidClientVpnEndpointId.NotFound" }]);
    expect(callsTo(ec2)).toStrictEqual(["Describe"]);
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
    const { response, entry } = await askHandler(connectEvent());
    expect(response.allow).toBe(false);
    expect(callsTo(ec2)).toHaveLength(fault === "same-token" ? 2 : 1);
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
      expect(callsTo(ec2)).toStrictEqual(["Describe", "Terminate"]);
    },
  );

  test("look-up: a row without an id does not keep the user out where it has ended", async () => {
    ec2.addConnection({ status: "terminated" });
    ec2.addConnection({ status: "terminating" });
    ec2.fail("DescribeClientVpnConnections", "without connectionId");
    const { response, entry } = await askHandler(connectEvent());
    expect(response).toStrictEqual(ALLOWED);
    expect(entry).toMatchObject({ reason: "no older connections", errors: [] });
  });

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
    expect(callsTo(ec2)).toStrictEqual(["Describe", "Describe", "Describe"]);
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
    expect(entry.reason).toBe("older connections could not be terminated");
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
    expect(callsTo(ec2)).toStrictEqual(["Describe", "Terminate", "Terminate"]);
  });

  test("an answer without statuses is a success", async () => {
    ec2.addConnection();
    ec2.fail("TerminateClientVpnConnections", "no-statuses");
    expect((await askHandler(connectEvent())).response).toStrictEqual(ALLOWED);
  });
});
