import { describe, expect, test } from "vitest";
import { ALLOWED, entryOfTerminated } from "../helpers/answers.ts";
import { BUILT, callsTo, statuses, useBuilt, useEc2 } from "../helpers/built.ts";
import { CONNECTION_ID, connectEvent } from "../helpers/events.ts";

describe.each(BUILT)("dist/%s", (file) => {
  const ec2 = useEc2();
  const { askHandler } = useBuilt(ec2, file);

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

    test.each([undefined, ""])("believes the filter where a row's user name is %j", async (username) => {
      const older = ec2.addConnection({ username, filterUsername: "alice" });
      const stranger = ec2.addConnection({ username, filterUsername: "bob" });
      await askHandler(connectEvent());
      expect(statuses([older, stranger])).toStrictEqual(["terminated", "active"]);
    });

    test("passes over a row of another user that EC2's filter let through", async () => {
      const strangers = ["bob", "Alice", "alice ", "ALICE"].map((username) =>
        ec2.addConnection({ username, filterUsername: "alice" }),
      );
      const older = ec2.addConnection();
      const { entry } = await askHandler(connectEvent());
      expect(entry.terminated).toStrictEqual([older.connectionId]);
      expect(new Set(statuses(strangers))).toStrictEqual(new Set(["active"]));
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
      const ids = ec2.requests.slice(1).map(({ params }) => params.get("ConnectionId"));
      expect(ids.sort()).toStrictEqual(rows.map(({ connectionId }) => connectionId).sort());
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
      const withoutTime = ec2.addConnection({ establishedAt: "-" });
      const { response } = await askHandler(connectEvent());
      expect(response).toStrictEqual(ALLOWED);
      expect(statuses([...rows.slice(0, 1), ...rows.slice(2)])).toStrictEqual(["terminated", "active"]);
      expect(withoutTime.status).toBe("terminated");
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
});
