import { DescribeClientVpnConnectionsCommand, TerminateClientVpnConnectionsCommand } from "@aws-sdk/client-ec2";
import { describe, expect, test } from "vitest";
import { handler } from "../../src/handler.ts";
import { ALLOWED } from "../helpers/answers.ts";
import { connectEvent } from "../helpers/events.ts";
import { ENDED, row, useMocks } from "../helpers/mocked.ts";

const { ec2, info, listed, askHandler } = useMocks();

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
