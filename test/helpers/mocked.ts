import {
  type ClientVpnConnection,
  DescribeClientVpnConnectionsCommand,
  EC2Client,
  TerminateClientVpnConnectionsCommand,
} from "@aws-sdk/client-ec2";
import { mockClient } from "aws-sdk-client-mock";
import { afterEach, beforeEach, expect, vi } from "vitest";
import { handler } from "../../src/handler.ts";
import { THROTTLED } from "../ec2/faults.ts";
import { ENDPOINT_ID } from "../ec2/server.ts";
import { expectValidAnswer } from "./answers.ts";
import { connectEvent } from "./events.ts";

export const ENDED = { ClientVpnEndpointId: ENDPOINT_ID };

/** Gives the tests of a file a mock of EC2's client and of the console, which begin anew with each of them. */
export function useMocks() {
  const ec2 = mockClient(EC2Client);
  const info = vi.spyOn(console, "info");
  const error = vi.spyOn(console, "error");

  beforeEach(() => {
    ec2.reset();
    ec2.on(TerminateClientVpnConnectionsCommand).resolves(ENDED);
    for (const write of [info, error]) write.mockReset().mockImplementation(() => {});
  });

  afterEach(() => {
    vi.unstubAllEnvs();
  });

  /** Sets what EC2 lists. */
  function listed(...Connections: ClientVpnConnection[]): void {
    ec2.on(DescribeClientVpnConnectionsCommand).resolves({ Connections });
  }

  /** Returns the ids of the connections that EC2 was told to end. */
  function terminated(): unknown[] {
    return ec2.commandCalls(TerminateClientVpnConnectionsCommand).map((call) => call.args[0].input.ConnectionId);
  }

  /** Calls the handler, and takes the one log entry that has to come with every answer. */
  async function askHandler(...events: unknown[]) {
    const event = events.length > 0 ? events[0] : connectEvent();
    const response: unknown = await handler(event, { getRemainingTimeInMillis: () => 30_000 });
    expectValidAnswer(response);
    expect(info.mock.calls.length + error.mock.calls.length).toBe(1);
    const [line] = [...info.mock.calls, ...error.mock.calls].flat();
    const entry: Record<string, unknown> = JSON.parse(line);
    expect(error.mock.calls.length).toBe(response.allow ? 0 : 1);
    expect(entry.decision).toBe(response.allow ? "allow" : "deny");
    return { response, entry, message: response["error-msg-on-denied-connection"] };
  }

  return { ec2, info, error, listed, terminated, askHandler };
}

/** Throws what the SDK throws where EC2 throttles. */
export const throttled = () => Promise.reject(Object.assign(new Error(THROTTLED.message), { name: THROTTLED.code }));

/** A row of EC2's list: an active connection of alice, but for the given fields. */
export function row(ConnectionId: string, fields: Partial<ClientVpnConnection> = {}): ClientVpnConnection {
  return { ConnectionId, Username: "alice", Status: { Code: "active" }, ...fields };
}
