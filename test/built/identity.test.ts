import { describe, expect, test } from "vitest";
import { ALLOWED } from "../helpers/answers.ts";
import { statuses, useEc2, useSettings } from "../helpers/built.ts";
import { connectEvent } from "../helpers/events.ts";

const ec2 = useEc2();
const { askHandlerWith, addConnection } = useSettings(ec2);

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
    ["a placeholder", "N/A"],
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
