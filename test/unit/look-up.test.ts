import { type ClientVpnConnection, DescribeClientVpnConnectionsCommand } from "@aws-sdk/client-ec2";
import { describe, expect, test } from "vitest";
import { ENDPOINT_ID } from "../ec2/server.ts";
import { ALLOWED } from "../helpers/answers.ts";
import { CONNECTION_ID, connectEvent } from "../helpers/events.ts";
import { row, useMocks } from "../helpers/mocked.ts";

const { ec2, listed, terminated, askHandler } = useMocks();

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
