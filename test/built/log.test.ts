import { describe, expect, test } from "vitest";
import { ENDPOINT_ID } from "../ec2/server.ts";
import { ALLOWED, checkSweepLog } from "../helpers/answers.ts";
import { builtForTest, sweepThatThrows, useEc2 } from "../helpers/built.ts";
import { CONNECTION_ID, connectEvent } from "../helpers/events.ts";
import { useSweeps } from "../helpers/sweeps.ts";

// What the entries of the log hold, and how much of it. What they say of a decision, the tests of the decision know.

const ec2 = useEc2();
const { lambda, lambdaWith, askHandler, askHandlerWith, sweep, failingSweep, addConnectionOf } = useSweeps(ec2);

describe("the entry of a login", () => {
  test("names the request where it is invalid too", async () => {
    const { entry } = await askHandler(connectEvent({ "schema-version": "v4", "common-name": "laptop" }));
    const ids = { endpointId: ENDPOINT_ID, connectionId: CONNECTION_ID };
    expect(entry).toMatchObject({ username: "alice", commonName: "laptop", ...ids });
  });

  test("is one line, whatever the user name holds", async () => {
    const username = 'alice\n{"decision":"allow","username":"mallory"}\r\n';
    const { response, entry } = await askHandler(connectEvent({ username }));
    expect(response).toStrictEqual(ALLOWED);
    expect(entry.username).toBe(username);
  });

  test("is an object with Lambda's JSON log format", async () => {
    const lambda = await builtForTest({ ...ec2.env, AWS_LAMBDA_LOG_FORMAT: "JSON" });
    const { log } = await lambda.invoke(connectEvent());
    expect(log).toStrictEqual([{ level: "info", message: [expect.objectContaining({ username: "alice" })] }]);
  });

  test.each([
    ["ALICE", { IGNORE_USERNAME_CASE: "true" }, "alice"],
    ["ALICE", {}, "ALICE"],
    ["N/A", { IDENTITY: "common-name", ON_FAILURE: "allow" }, ""],
  ])("has the user as the name is compared: %s with %j", async (name, settings, user) => {
    const { entry } = await askHandlerWith(settings, connectEvent({ username: name, "common-name": name }));
    expect(entry.user).toBe(user);
  });

  test.each<[string, Record<string, unknown>, object]>([
    ["texts", { "public-ip": "198.51.100.4", platform: "win" }, { publicIp: "198.51.100.4", platform: "win" }],
    ["something odd", { "public-ip": 7, platform: { os: "win" } }, { publicIp: "", platform: "" }],
    ["null", { "public-ip": null, platform: null }, { publicIp: "", platform: "" }],
  ])("has from where the login came: %s", async (_, fields, logged) => {
    expect((await askHandler(connectEvent(fields))).entry).toMatchObject(logged);
  });

  test("is of bounded length with an address and a platform of 1 MB", async () => {
    const fields = { "public-ip": "1".repeat(1_000_000), platform: "p".repeat(1_000_000) };
    const { entry } = await askHandler(connectEvent(fields));
    expect(JSON.stringify(entry).length).toBeLessThan(10_000);
  });

  test("is of bounded length with a user name of 1 MB, which gets an answer", async () => {
    const { response, entry } = await askHandler(connectEvent({ username: "a".repeat(1_000_000) }));
    expect(response).toStrictEqual(ALLOWED);
    expect(JSON.stringify(entry).length).toBeLessThan(5_000);
  });

  test("has its lists last, as CloudWatch Logs Insights finds the first 200 fields", async () => {
    ec2.addConnection();
    for (const [settings, dryRun] of [
      [{}, []],
      [{ DRY_RUN: "true" }, ["dryRun"]],
    ] as const) {
      const fields = Object.keys((await askHandlerWith(settings)).entry);
      expect(fields.slice(fields.indexOf("durationMs") + 1)).toStrictEqual([
        ...dryRun,
        "terminated",
        "notTerminated",
        "errors",
      ]);
    }
  });
});

describe("the entries of a sweep", () => {
  test("are some KB where 10,000 are too old", async () => {
    for (let i = 0; i <= 10_000; i++) addConnectionOf("alice", i);
    const { entry } = await sweep(await lambdaWith({ DRY_RUN: "true" }));
    expect(entry.dryRun).toMatchObject({ terminatedCount: 10_000 });
    expect(Object(entry.dryRun).terminated).toHaveLength(100);
    expect(JSON.stringify(entry).length).toBeLessThan(10_000);
  });

  test("name each user of whom it ended something, whatever the name is", async () => {
    const names = ["alice", "bob] [", 'carol"', "dave,erin", "用户"];
    for (const name of names) for (const secondsAgo of [10, 20, 30]) addConnectionOf(name, secondsAgo);
    const { users } = await sweep();
    expect(users.map(([user, ids]) => [user, ids.length]).toSorted()).toStrictEqual(
      names.toSorted().map((name) => [name, 2]),
    );
  });

  test("name a user by 255 characters at most", async () => {
    for (const secondsAgo of [10, 20]) addConnectionOf("a".repeat(300), secondsAgo);
    const { users } = await sweep(lambda(), () => "a".repeat(255));
    expect(users).toHaveLength(1);
  });

  test("name each of 130 users of whom it ended something", async () => {
    for (let i = 0; i < 130; i++) for (const secondsAgo of [10, 20]) addConnectionOf(`user-${i}`, secondsAgo);
    const { log } = await lambda().sweep({ sweep: ENDPOINT_ID });
    expect(checkSweepLog(log).users).toHaveLength(130);
  });

  test("name a hundred users at most, as a dry run names them again each minute", async () => {
    for (let i = 0; i < 150; i++) for (const secondsAgo of [10, 20]) addConnectionOf(`user-${i}`, secondsAgo);
    const { users, entry } = await sweep(await lambdaWith({ DRY_RUN: "true" }));
    expect(users).toHaveLength(100);
    expect(entry.dryRun).toMatchObject({ terminatedCount: 150 });
  });

  test("are short where the input is 1 MB, and so is the error", async () => {
    const endpointId = "x".repeat(1_000_000);
    const { entry } = await failingSweep(30_000, { sweep: endpointId });
    expect(JSON.stringify(entry).length).toBeLessThan(10_000);
    const thrown = await sweepThatThrows(lambda(), { sweep: [endpointId] }, {});
    expect(thrown.message.length).toBeLessThan(10_000);
  });
});
