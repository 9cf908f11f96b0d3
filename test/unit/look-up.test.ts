import { DescribeClientVpnConnectionsCommand } from "@aws-sdk/client-ec2";
import { describe, expect, test } from "vitest";
import { row, useMocks } from "../helpers/mocked.ts";

const { ec2, terminated, askHandler } = useMocks();

describe("the look-up", () => {
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

  test("denies, and ends nobody, when a later page has no list of connections: EC2 sends an empty one", async () => {
    ec2
      .on(DescribeClientVpnConnectionsCommand)
      .resolvesOnce({ Connections: [row("older")], NextToken: "2" })
      .resolves({});
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
});
