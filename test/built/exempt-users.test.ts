import { describe, expect, test } from "vitest";
import { ALLOWED } from "../helpers/answers.ts";
import { statuses, useEc2, useSettings } from "../helpers/built.ts";
import { connectEvent } from "../helpers/events.ts";

const ec2 = useEc2();
const { lambdaWith, askHandlerWith, addConnection } = useSettings(ec2);

describe("a login of an exempt user", () => {
  test.each([
    ["alice", "alice"],
    ["among others, with spaces around the name", " break-glass ,  alice , bob "],
  ])("is allowed without a call, and ends nobody: %s", async (_, EXEMPT_USERS) => {
    const rows = [addConnection(20), addConnection(10)];
    const { response, entry, level } = await askHandlerWith({ EXEMPT_USERS });
    expect(response).toStrictEqual(ALLOWED);
    expect(statuses(rows)).toStrictEqual(["active", "active"]);
    expect(ec2.requests).toHaveLength(0);
    expect(level).toBe("info");
    expect(entry.reason).toBe("exempt user");
  });

  test.each<[string, Record<string, string>, Record<string, unknown>, string]>([
    ["user names, with letter case", { EXEMPT_USERS: "Alice" }, {}, "terminated"],
    ["user names, whatever the case", { EXEMPT_USERS: "ALICE", IGNORE_USERNAME_CASE: "true" }, {}, "active"],
    ["a part of a name is not the name", { EXEMPT_USERS: "ali,alice2" }, {}, "terminated"],
    [
      "common names, and no user names",
      { EXEMPT_USERS: "alice", IDENTITY: "common-name" },
      { "common-name": "laptop" },
      "terminated",
    ],
    [
      "common names",
      { EXEMPT_USERS: "laptop", IDENTITY: "common-name" },
      { username: "bob", "common-name": "laptop" },
      "active",
    ],
  ])("is known by the name that is compared: %s", async (_, settings, fields, status) => {
    const older = addConnection(10, { commonName: "laptop" });
    const { response } = await askHandlerWith(settings, connectEvent(fields));
    expect(response).toStrictEqual(ALLOWED);
    expect(older.status).toBe(status);
  });

  test.each(["", "-", "N/A", "NA"])(
    "is not one without a name, also where the list has a placeholder: %j",
    async (name) => {
      const settings = { EXEMPT_USERS: "-,N/A,NA", IDENTITY: "common-name" };
      const { response, entry } = await askHandlerWith(settings, connectEvent({ "common-name": name }));
      expect(response.allow).toBe(false);
      expect(entry.reason).toBe("older connections could not be looked up");
    },
  );

  test("is as it is in a dry run", async () => {
    const { response, entry } = await askHandlerWith({ EXEMPT_USERS: "alice", DRY_RUN: "true" });
    expect(response).toStrictEqual(ALLOWED);
    expect(entry.reason).toBe("exempt user");
    expect(entry).not.toHaveProperty("dryRun");
  });
});

test("a login of anybody else ends the older connection", async () => {
  const rows = [addConnection(10, { username: "bob" }), addConnection(10)];
  const { response } = await askHandlerWith({ EXEMPT_USERS: "bob" });
  expect(response).toStrictEqual(ALLOWED);
  expect(statuses(rows)).toStrictEqual(["active", "terminated"]);
});

test("a sweep neither ends nor counts the connections of exempt users", async () => {
  const rows = [
    addConnection(10, { username: "kiosk" }),
    addConnection(20, { username: "kiosk" }),
    addConnection(10),
    addConnection(20),
    addConnection(30, { username: "" }),
  ];
  const lambda = await lambdaWith({ EXEMPT_USERS: "kiosk,-" });
  const { response } = await lambda.sweep({ sweep: ec2.endpointId });
  expect(response).toMatchObject({ active: 3, unnamed: 1, terminated: [rows[3]?.connectionId] });
  expect(statuses(rows)).toStrictEqual(["active", "active", "active", "terminated", "active"]);
});
