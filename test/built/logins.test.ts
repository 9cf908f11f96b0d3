import { describe, expect, test } from "vitest";
import { ALLOWED, entryOfTerminated } from "../helpers/answers.ts";
import { callsTo, statuses, useBuilt, useEc2 } from "../helpers/built.ts";
import { CONNECTION_ID, connectEvent } from "../helpers/events.ts";

const ec2 = useEc2();
const { askHandler } = useBuilt(ec2);

describe("one session per user", () => {
  test("ends alice's older connection, leaves bob's alone, and allows", async () => {
    const laptop = ec2.addConnection();
    const bob = ec2.addConnection({ username: "bob" });
    ec2.addConnection({ connectionId: CONNECTION_ID, establishedAt: new Date() });
    const { response, entry } = await askHandler(connectEvent());
    expect(response).toStrictEqual(ALLOWED);
    expect(statuses(ec2.connections)).toStrictEqual(["terminated", "active", "active"]);
    expect(bob.endedAt).toBeUndefined();
    expect(callsTo(ec2)).toStrictEqual(["Describe", "Terminate"]);
    expect(entry).toStrictEqual({ ...entryOfTerminated(laptop.connectionId), durationMs: expect.any(Number) });
  });

  test("costs one call when there is nobody to end, whatever the number of others", async () => {
    for (let i = 0; i < 3_000; i++) ec2.addConnection({ username: `user-${i}` });
    expect((await askHandler(connectEvent())).response).toStrictEqual(ALLOWED);
    expect(callsTo(ec2)).toStrictEqual(["Describe"]);
  });

  test("acts once: the second answer finds the terminated connection, which stays listed, and lets it be", async () => {
    ec2.addConnection();
    await askHandler(connectEvent());
    await askHandler(connectEvent());
    expect(callsTo(ec2)).toStrictEqual(["Describe", "Terminate", "Describe"]);
  });

  test("ends what failed to terminate before, and passes over what is ending or has ended", async () => {
    const rows = (["failed-to-terminate", "terminating", "terminated"] as const).map((status) =>
      ec2.addConnection({ status }),
    );
    expect((await askHandler(connectEvent())).response.allow).toBe(true);
    expect(statuses(rows)).toStrictEqual(["terminated", "terminating", "terminated"]);
    expect(callsTo(ec2)).toStrictEqual(["Describe", "Terminate"]);
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
    expect(callsTo(ec2)).toStrictEqual(["Describe", "Describe", "Describe", "Terminate"]);
    expect(last.status).toBe("terminated");
  });

  test("ends 40 older connections", async () => {
    const rows = Array.from({ length: 40 }, () => ec2.addConnection());
    const { response, entry } = await askHandler(connectEvent());
    expect(response).toStrictEqual(ALLOWED);
    expect(new Set(statuses(rows))).toStrictEqual(new Set(["terminated"]));
    expect(entry.terminated).toHaveLength(40);
    expect(callsTo(ec2)).toHaveLength(41);
  });

  test("calls nobody for a device without a user name", async () => {
    ec2.addConnection({ username: "", filterUsername: "" });
    const { response, entry } = await askHandler(connectEvent({ username: "" }));
    expect(response).toStrictEqual(ALLOWED);
    expect(entry.reason).toBe("no username to compare");
    expect(callsTo(ec2)).toStrictEqual([]);
  });

  // Every kind of bad event is tried on the mock. These could become others on their way into the built file.
  test("denies what is not a request, and calls nobody", async () => {
    const bad = [
      [undefined, "expected a JSON object, got undefined"],
      [[connectEvent()], "expected a JSON object, got ["],
      [connectEvent({ "schema-version": "v1" }), "schema-version: expected 'v3', got 'v1'"],
      [JSON.parse(`{"__proto__": ${JSON.stringify(connectEvent())}}`), "schema-version: expected 'v3', got undefined"],
    ] as const;
    for (const [event, reason] of bad) {
      const { response, entry } = await askHandler(event);
      expect(response.allow).toBe(false);
      expect(entry.reason).toContain(reason);
    }
    expect(callsTo(ec2)).toStrictEqual([]);
  });

  test.each<[string, Record<string, unknown>, object]>([
    ["texts", { "public-ip": "198.51.100.4", platform: "win" }, { publicIp: "198.51.100.4", platform: "win" }],
    ["something odd", { "public-ip": 7, platform: { os: "win" } }, { publicIp: "", platform: "" }],
    ["null", { "public-ip": null, platform: null }, { publicIp: "", platform: "" }],
  ])("logs from where the login came, where the request has %s", async (_, fields, logged) => {
    expect((await askHandler(connectEvent(fields))).entry).toMatchObject(logged);
  });

  test("bounds what it logs of an address and a platform of 1 MB", async () => {
    const fields = { "public-ip": "1".repeat(1_000_000), platform: "p".repeat(1_000_000) };
    const { entry } = await askHandler(connectEvent(fields));
    expect(JSON.stringify(entry).length).toBeLessThan(10_000);
  });

  test("answers a user name of 1 MB", async () => {
    expect((await askHandler(connectEvent({ username: "a".repeat(1_000_000) }))).response.allow).toBe(true);
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
