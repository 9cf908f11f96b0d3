import { DescribeClientVpnConnectionsCommand, TerminateClientVpnConnectionsCommand } from "@aws-sdk/client-ec2";
import { describe, expect, test } from "vitest";
import { handler } from "../../src/handler.ts";
import { ENDPOINT_ID } from "../ec2/server.ts";
import { ALLOWED } from "../helpers/answers.ts";
import { connectEvent } from "../helpers/events.ts";
import { ENDED, row, useMocks } from "../helpers/mocked.ts";

// What no HTTP answer makes the SDK return or throw, and what is known of the calls alone.

const { ec2, info, listed, terminated, askHandler } = useMocks();

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

describe("the termination", () => {
  test.each([
    ["an empty list of statuses", { ConnectionStatuses: [] }],
    ["a status without codes", { ConnectionStatuses: [{}] }],
    ["terminating", { ConnectionStatuses: [{ CurrentStatus: { Code: "terminating" as const } }] }],
  ])("takes %s for a success", async (_, output) => {
    listed(row("older"));
    ec2.on(TerminateClientVpnConnectionsCommand).resolves(output);
    expect((await askHandler()).response).toStrictEqual(ALLOWED);
  });

  test("denies when EC2 says failed-to-terminate in an answer without error", async () => {
    listed(row("older"));
    ec2.on(TerminateClientVpnConnectionsCommand).resolves({
      ConnectionStatuses: [{ CurrentStatus: { Code: "failed-to-terminate", Message: "still there" } }],
    });
    const { response, entry, message } = await askHandler();
    expect(response.allow).toBe(false);
    expect(message).toMatch(/could not be ended. Disconnect your other devices/);
    expect(entry).toMatchObject({
      reason: "older connections could not be terminated",
      terminated: [],
      notTerminated: ["older"],
      errors: [{ connectionId: "older", code: "failed-to-terminate", message: "still there" }],
    });
  });

  test("has ten requests at once under way, and not more", async () => {
    listed(...Array.from({ length: 40 }, (_, i) => row(`older-${i}`)));
    let underWay = 0;
    let most = 0;
    ec2.on(TerminateClientVpnConnectionsCommand).callsFake(async () => {
      most = Math.max(most, ++underWay);
      await new Promise((resolve) => setTimeout(resolve, 5));
      underWay--;
      return ENDED;
    });
    expect((await askHandler()).response).toStrictEqual(ALLOWED);
    expect(most).toBe(10);
  });
});

describe("the log entry", () => {
  test("that cannot be written costs nobody the connection", async () => {
    listed(row("older"));
    info.mockImplementation(() => {
      throw new Error("standard output is gone");
    });
    expect(await handler(connectEvent())).toStrictEqual(ALLOWED);
  });

  test.each([
    ["a message", { message: "x".repeat(1_000_000) }],
    ["a code", { name: "x".repeat(1_000_000) }],
    ["a message that is no text", { message: Array.from({ length: 100_000 }, () => "x") }],
  ])("cuts %s of EC2 that is endless, and a list of errors that is", async (_, fields) => {
    listed(...Array.from({ length: 30 }, (_, i) => row(`older-${i}`)));
    ec2.on(TerminateClientVpnConnectionsCommand).rejects(Object.assign(new Error("no"), fields));
    const { entry } = await askHandler();
    expect(entry.notTerminated).toHaveLength(30);
    expect(entry.errors).toHaveLength(10);
    expect(entry.errorCount).toBe(30);
    expect(JSON.stringify(entry).length).toBeLessThan(50_000);
  });

  test("has the first ten errors, in the order in which they came", async () => {
    const ids = Array.from({ length: 25 }, (_, i) => `older-${String(i).padStart(2, "0")}`);
    listed(...ids.map((id) => row(id)));
    ec2
      .on(TerminateClientVpnConnectionsCommand)
      .callsFake(({ ConnectionId }) => Promise.reject(new Error(ConnectionId)));
    const { entry } = await askHandler();
    const first = ids.slice(0, 10).map((id) => ({ connectionId: id, code: "Error", message: id }));
    expect(entry.errors).toStrictEqual(first);
  });

  test("has at most a hundred ids in each list, and beside it how many there are", async () => {
    const ids = Array.from({ length: 250 }, (_, i) => `older-${String(i).padStart(3, "0")}`);
    listed(...ids.map((id) => row(id)));
    ec2
      .on(TerminateClientVpnConnectionsCommand)
      .callsFake(({ ConnectionId }) => (ConnectionId < "older-120" ? Promise.reject(new Error("no")) : ENDED));
    const { entry } = await askHandler();
    expect(entry).toMatchObject({ terminatedCount: 130, notTerminatedCount: 120 });
    expect(entry.terminated).toStrictEqual(ids.slice(120, 220));
    expect(entry.notTerminated).toStrictEqual(ids.slice(0, 100));
  });

  test.each(["oops", undefined, null, 7, { code: "odd" }])("is written when the SDK throws %j", async (thrown) => {
    ec2.on(DescribeClientVpnConnectionsCommand).callsFake(() => Promise.reject(thrown));
    const { response, entry } = await askHandler();
    expect(response.allow).toBe(false);
    expect(entry.errors).toStrictEqual([{ code: "Unknown", message: String(thrown) }]);
  });
});

test("an event that has inherited the field sweep is a login", async () => {
  const { response } = await askHandler(Object.create({ sweep: ENDPOINT_ID }));
  expect(response.allow).toBe(false);
  expect(ec2.calls()).toHaveLength(0);
});
