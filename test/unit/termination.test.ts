import {
  TerminateClientVpnConnectionsCommand,
  type TerminateClientVpnConnectionsCommandOutput,
} from "@aws-sdk/client-ec2";
import { describe, expect, test } from "vitest";
import { ENDPOINT_ID } from "../ec2/server.ts";
import { ALLOWED } from "../helpers/answers.ts";
import { ENDED, row, useMocks } from "../helpers/mocked.ts";

const { ec2, listed, terminated, askHandler } = useMocks();

describe("the termination", () => {
  test("ends every older connection, each by its id and once, and allows", async () => {
    listed(row("a"), row("b"), row("b"), row("c", { Status: { Code: "failed-to-terminate" } }));
    const { response, entry } = await askHandler();
    expect(response).toStrictEqual(ALLOWED);
    const inputs = ec2.commandCalls(TerminateClientVpnConnectionsCommand).map((call) => call.args[0].input);
    expect(inputs).toStrictEqual(
      ["a", "b", "c"].map((ConnectionId) => ({ ClientVpnEndpointId: ENDPOINT_ID, ConnectionId })),
    );
    expect(entry).toMatchObject({ reason: "older connections terminated", terminated: ["a", "b", "c"] });
  });

  test("takes a connection that has gone already for ended", async () => {
    listed(row("gone"));
    const cause = Object.assign(new Error("no such connection"), { name: "InvalidClientVpnConnection.IdNotFound" });
    ec2.on(TerminateClientVpnConnectionsCommand).rejects(cause);
    expect((await askHandler()).response).toStrictEqual(ALLOWED);
  });

  test.each([
    ["the endpoint without statuses", { ClientVpnEndpointId: ENDPOINT_ID }],
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

  test.each<[string, TerminateClientVpnConnectionsCommandOutput]>([
    ["the connection is still active", { ConnectionStatuses: [{ CurrentStatus: { Code: "active" } }], $metadata: {} }],
    [
      "the connection has a status that AWS does not document",
      JSON.parse('{ "ConnectionStatuses": [{ "CurrentStatus": { "Code": "suspended" } }] }'),
    ],
    ["a connection of another endpoint was ended", { ClientVpnEndpointId: "cvpn-endpoint-of-others", $metadata: {} }],
    ["nothing at all", { $metadata: {} }],
  ])("denies when EC2 says, without an error, that %s", async (_, output) => {
    listed(row("older"));
    ec2.on(TerminateClientVpnConnectionsCommand).resolves(output);
    const { response, entry } = await askHandler();
    expect(response.allow).toBe(false);
    expect(entry).toMatchObject({ terminated: [], notTerminated: ["older"], errors: [{ connectionId: "older" }] });
  });

  test("goes on with the others when one connection cannot be ended", async () => {
    const ids = Array.from({ length: 25 }, (_, i) => `older-${i}`).sort();
    listed(...ids.map((id) => row(id)));
    ec2.on(TerminateClientVpnConnectionsCommand, { ConnectionId: "older-0" }).rejects(new Error("no"));
    const { response, entry } = await askHandler();
    expect(response.allow).toBe(false);
    expect(terminated()).toStrictEqual(ids);
    expect(entry.terminated).toHaveLength(24);
    expect(entry.notTerminated).toStrictEqual(["older-0"]);
    expect(entry.errors).toMatchObject([{ connectionId: "older-0" }]);
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
