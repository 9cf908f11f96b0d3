import { beforeEach, describe, expect, test } from "vitest";
import type { Connection } from "../ec2/connection.ts";
import { LoopbackEc2 } from "../ec2/server.ts";
import { ALLOWED } from "../helpers/answers.ts";
import { callsTo, statuses, useEc2, useSettings } from "../helpers/built.ts";
import { CONNECTION_ID, connectEvent } from "../helpers/events.ts";

const ec2 = useEc2();
const { lambdaWith, askHandlerWith, addConnection } = useSettings(ec2);

describe("a device that comes back, where a user may have several connections", () => {
  const ofDevice = (secondsAgo: number, commonName: string | undefined) => addConnection(secondsAgo, { commonName });
  const fromLaptop = connectEvent({ "common-name": "laptop" });

  test("takes the place of its own dead connection, not of the live one of another device", async () => {
    const [phone, laptop] = [ofDevice(60, "phone"), ofDevice(30, "laptop")];
    const { response } = await askHandlerWith({ MAX_CONNECTIONS_PER_USER: "2" }, fromLaptop);
    expect(response).toStrictEqual(ALLOWED);
    expect(statuses([phone, laptop])).toStrictEqual(["active", "terminated"]);
  });

  test.each([
    ["2", ["active", "terminated", "terminated", "terminated", "terminated"]],
    ["3", ["active", "active", "terminated", "terminated", "terminated"]],
    ["4", ["active", "active", "terminated", "active", "terminated"]],
    ["5", ["active", "active", "terminated", "active", "active"]],
  ])("of %s: its own go first, the oldest of them before the others, and then the oldest", async (limit, expected) => {
    const others = [ofDevice(20, "phone"), ofDevice(50, "tablet")];
    const own = [ofDevice(40, "laptop"), ofDevice(10, "laptop"), ofDevice(30, "laptop")];
    await askHandlerWith({ MAX_CONNECTIONS_PER_USER: limit }, fromLaptop);
    expect(statuses([...others, ...own])).toStrictEqual(expected);
  });

  test.each<[string, unknown, (string | undefined)[]]>([
    ["all have one certificate", "shared", ["shared", "shared"]],
    ["the request has none", "", ["", ""]],
    ["there are none at all", undefined, [undefined, undefined]],
    ["the request has a placeholder", "-", ["NA", "N/A"]],
    ["the request has something odd", { name: "laptop" }, ["laptop", "[object Object]"]],
    ["it is another one", "watch", ["phone", "laptop"]],
  ])("is as any other where %s: the oldest goes", async (_, commonName, [older, newer]) => {
    const rows = [ofDevice(20, newer), ofDevice(30, older)];
    await askHandlerWith({ MAX_CONNECTIONS_PER_USER: "2" }, connectEvent({ "common-name": commonName }));
    expect(statuses(rows)).toStrictEqual(["active", "terminated"]);
  });

  test("leaves what is newer than itself, where it is listed, though it is of the same device", async () => {
    const rows = [ofDevice(10, "laptop"), ofDevice(40, "laptop"), ofDevice(50, "phone")];
    addConnection(20, { connectionId: CONNECTION_ID, commonName: "laptop" });
    await askHandlerWith({ MAX_CONNECTIONS_PER_USER: "3" }, fromLaptop);
    expect(statuses(rows)).toStrictEqual(["active", "terminated", "active"]);
  });
});

test("a sweep ends the dead connection of the device that came back, not the live one of another device", async () => {
  const rows = [
    addConnection(60, { commonName: "phone" }),
    addConnection(30, { commonName: "laptop" }),
    addConnection(10, { commonName: "laptop" }),
    addConnection(40, { username: "bob", commonName: "laptop" }),
  ];
  const lambda = await lambdaWith({ MAX_CONNECTIONS_PER_USER: "2" });
  const { response } = await lambda.sweep({ sweep: ec2.endpointId });
  expect(response.terminated).toStrictEqual([rows[1]?.connectionId]);
  expect(statuses(rows)).toStrictEqual(["active", "terminated", "active", "active"]);
});

describe("devices of one user that push each other out", () => {
  // Each test has one of its own: who was refused in the test before is refused again.
  let username = "";
  beforeEach(({ task }) => {
    username = `user of ${task.id}`;
  });
  const add = (secondsAgo: number, fields: Partial<Connection> = {}) =>
    addConnection(secondsAgo, { username, ...fields });
  const ask = (settings: Record<string, string> = {}) => askHandlerWith(settings, connectEvent({ username }));

  function addNew(count: number, secondsAgo = 3, fields = {}) {
    // All but the last have been ended by the next one.
    return Array.from({ length: count }, (_, i) =>
      add(secondsAgo, { status: i === count - 1 ? "active" : "terminated", ...fields }),
    );
  }

  test.each([
    ["1", 7],
    ["3", 9],
  ])("are denied with a limit of %s when EC2 lists %d within seconds, and nobody is ended", async (limit, count) => {
    const rows = addNew(count);
    const { response, entry, level } = await ask({ MAX_CONNECTIONS_PER_USER: limit });
    expect(response.allow).toBe(false);
    expect(response["error-msg-on-denied-connection"]).toMatch(/connects too often.*try again.*somebody else may have/);
    expect(callsTo(ec2)).toStrictEqual(["Describe"]);
    expect(rows.at(-1)?.status).toBe("active");
    expect(level).toBe("error");
    expect(entry).toMatchObject({ reason: "too many new connections", errors: [] });
  });

  test.each([
    ["1", 6],
    ["3", 8],
  ])("are let in with a limit of %s when there are %d, and the older one is ended", async (limit, count) => {
    const rows = addNew(count);
    const live = Array.from({ length: Number(limit) - 1 }, () => add(90));
    const { response, entry } = await ask({ MAX_CONNECTIONS_PER_USER: limit });
    expect(response).toStrictEqual(ALLOWED);
    expect(entry.terminated).toHaveLength(1);
    expect(statuses([...rows, ...live]).filter((status) => status === "active")).toHaveLength(Number(limit) - 1);
  });

  test.each<[string, number, object]>([
    ["ended, and began more than 10 s ago", 12, { status: "terminated" }],
    ["began more than a minute ago", 62, { status: "active" }],
    ["are of another time, as a clock is wrong", -3_600, {}],
    ["are another user's", 3, { username: "bob" }],
    ["have no time", 3, { establishedAt: "-" }],
  ])("do not count where they %s", async (_, secondsAgo, fields) => {
    addNew(30, secondsAgo, fields);
    const { response } = await ask();
    expect(response).toStrictEqual(ALLOWED);
  });

  test("count for a minute where they are live, as they are when all connected in one moment", async () => {
    const rows = addNew(7, 50, { status: "active" });
    const { response } = await ask();
    expect(response.allow).toBe(false);
    expect(new Set(statuses(rows))).toStrictEqual(new Set(["active"]));
  });

  test("count where EC2's clock is some seconds ahead", async () => {
    addNew(7, -3);
    expect((await ask()).response.allow).toBe(false);
  });

  test.each([
    ["a person whose network drops every 2 s", [2, 4, 6, 8, 10], "active"],
    ["two devices that come back 2 s after they were pushed out", [2, 4, 6, 8, 10], "terminated"],
    ["the owner 11 s after a thief's thirty attempts", Array.from({ length: 30 }, () => 11), "active"],
  ])("are let in where they are %s", async (_, secondsAgo, lastStatus) => {
    const rows = secondsAgo.map((ago, i) => add(ago, { status: i === 0 ? lastStatus : "terminated" }));
    const { response } = await ask();
    expect(response).toStrictEqual(ALLOWED);
    expect(new Set(statuses(rows))).toStrictEqual(new Set(["terminated"]));
  });

  test("count by the name that is compared", async () => {
    addNew(7, 3, { commonName: "laptop", username: "" });
    const event = connectEvent({ username: "", "common-name": "laptop" });
    const { response } = await askHandlerWith({ IDENTITY: "common-name" }, event);
    expect(response.allow).toBe(false);
    const other = await askHandlerWith({ IDENTITY: "common-name" }, { ...event, "common-name": "phone" });
    expect(other.response).toStrictEqual(ALLOWED);
  });

  test("count for nobody whose name may not be theirs: EC2 names no user of what a filter for * gives", async () => {
    addNew(60, 3, { username: undefined, filterUsername: "bob", status: "terminated" });
    const { response } = await askHandlerWith({}, connectEvent({ username: "*" }));
    expect(response).toStrictEqual(ALLOWED);
  });

  test("are denied with ON_FAILURE=allow too: nothing has failed", async () => {
    addNew(7);
    expect((await ask({ ON_FAILURE: "allow" })).response.allow).toBe(false);
  });

  test("are let in by a dry run, which says what the answer would have been, at level error", async () => {
    addNew(7);
    const { response, entry, level } = await ask({ DRY_RUN: "true" });
    expect(response).toStrictEqual(ALLOWED);
    expect(level).toBe("error");
    expect(entry).toMatchObject({
      reason: "dry run: too many new connections",
      dryRun: { decision: "deny", terminated: [] },
    });
  });

  test("are let in when the user is exempt", async () => {
    addNew(60);
    expect((await ask({ EXEMPT_USERS: username })).response).toStrictEqual(ALLOWED);
  });

  test("are refused again at once, with the same entry, and EC2 is not asked", async () => {
    addNew(7);
    const [first, again] = [await ask(), await ask()];
    expect(again.response).toStrictEqual(first.response);
    expect({ ...again.entry, durationMs: 0 }).toStrictEqual({ ...first.entry, durationMs: 0 });
    expect(again.level).toBe("error");
    expect(callsTo(ec2)).toStrictEqual(["Describe"]);
  });

  test("are refused again in other letters, where letter case does not count", async () => {
    const settings = { IGNORE_USERNAME_CASE: "true" };
    addNew(7);
    await ask(settings);
    await askHandlerWith(settings, connectEvent({ username: username.toUpperCase() }));
    expect(callsTo(ec2)).toStrictEqual(["Describe"]);
  });

  test("are not taken for another user, or for one of the same name on another endpoint", async () => {
    addNew(7);
    await ask();
    const other = await askHandlerWith({}, connectEvent({ username: `${username}2` }));
    expect(other.response).toStrictEqual(ALLOWED);
    const beside = new LoopbackEc2();
    beside.endpointId = "cvpn-endpoint-0badc0de0badc0de0";
    ec2.beside = [beside];
    const elsewhere = await askHandlerWith({}, connectEvent({ username, "endpoint-id": beside.endpointId }));
    expect(elsewhere.response).toStrictEqual(ALLOWED);
  });

  test("are looked up each time in a dry run, which refuses nobody", async () => {
    addNew(7);
    for (const { entry } of [await ask({ DRY_RUN: "true" }), await ask({ DRY_RUN: "true" })]) {
      expect(entry.reason).toBe("dry run: too many new connections");
    }
    expect(callsTo(ec2)).toStrictEqual(["Describe", "Describe"]);
  });
});
