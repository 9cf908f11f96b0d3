import {
  DescribeClientVpnConnectionsCommand,
  type DescribeClientVpnConnectionsCommandInput,
  DescribeClientVpnEndpointsCommand,
  EC2Client,
  TerminateClientVpnConnectionsCommand,
} from "@aws-sdk/client-ec2";
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test, vi } from "vitest";
import type { ClientConnectResponse } from "../../src/handler.ts";
import { ALLOWED } from "../helpers/answers.ts";
import { CONNECTION_ID, connectEvent } from "../helpers/events.ts";
import { authorize } from "./client-vpn.ts";
import type { Connection } from "./connection.ts";
import { REFUSED } from "./faults.ts";
import { ENDPOINT_ID, LoopbackEc2 } from "./server.ts";
import { TokenBucket } from "./token-bucket.ts";

// The loopback EC2 is what the other tests rest on: here the SDK as it is checks it against what AWS documents.

const ec2 = new LoopbackEc2();
let client: EC2Client;

beforeAll(async () => {
  await ec2.start();
  client = clientWith({});
});

afterAll(async () => {
  client.destroy();
  await ec2.close();
});

beforeEach(() => ec2.reset());

function clientWith(settings: { secretAccessKey?: string; accessKeyId?: string }): EC2Client {
  const { accessKeyId, secretAccessKey, region, url } = ec2;
  return new EC2Client({ region, endpoint: url, credentials: { accessKeyId, secretAccessKey, ...settings } });
}

function listing(input: Partial<DescribeClientVpnConnectionsCommandInput> = {}, from = client) {
  return from.send(new DescribeClientVpnConnectionsCommand({ ClientVpnEndpointId: ENDPOINT_ID, ...input }));
}

function termination(input: { ConnectionId?: string; Username?: string }) {
  return client.send(new TerminateClientVpnConnectionsCommand({ ClientVpnEndpointId: ENDPOINT_ID, ...input }));
}

async function usernames(...Values: string[]): Promise<(string | undefined)[]> {
  const { Connections = [] } = await listing({ Filters: [{ Name: "username", Values }] });
  return Connections.map(({ Username }) => Username);
}

describe("DescribeClientVpnConnections", () => {
  test("gives each connection with what AWS documents of it", async () => {
    const { connectionId } = ec2.addConnection({ username: "Zoë & <Sons>", establishedAt: new Date(0) });
    const { Connections } = await listing();
    expect(Connections).toStrictEqual([
      {
        ClientVpnEndpointId: ENDPOINT_ID,
        Timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$/),
        ConnectionId: connectionId,
        Username: "Zoë & <Sons>",
        ConnectionEstablishedTime: "1970-01-01 00:00:00",
        IngressBytes: "0",
        EgressBytes: "0",
        IngressPackets: "0",
        EgressPackets: "0",
        ClientIp: "10.0.0.2",
        CommonName: "Zoë & <Sons>",
        Status: { Code: "active" },
        ConnectionEndTime: "-",
      },
    ]);
  });

  test("gives the posture compliance statuses of a connection that has any, as they are and in their order", async () => {
    const statuses = [["one", "<two> & 'three' \"4\"", " 五, 😀 "], [], undefined];
    for (const postureComplianceStatuses of statuses) ec2.addConnection({ postureComplianceStatuses });
    const { Connections = [] } = await listing();
    expect(Connections.map(({ PostureComplianceStatuses }) => PostureComplianceStatuses)).toStrictEqual(statuses);
    expect("PostureComplianceStatuses" in Object(Connections[2])).toBe(false);
  });

  test("gives no names, and finds nobody by them, where they are hidden", async () => {
    const { connectionId } = ec2.addConnection({ postureComplianceStatuses: ["compliant"] });
    ec2.hidden.add("username");
    expect(await usernames("alice")).toStrictEqual([]);
    expect(await usernames("*")).toStrictEqual([]);
    const byId = { Name: "connection-id", Values: [connectionId] };
    const [connection] = (await listing({ Filters: [byId] })).Connections ?? [];
    expect(connection).not.toHaveProperty("Username");
    expect(connection).toMatchObject({ CommonName: "alice", PostureComplianceStatuses: ["compliant"] });
    ec2.hidden.add("commonName");
    expect((await listing()).Connections?.[0]).not.toHaveProperty("CommonName");
    ec2.reset();
    ec2.addConnection();
    expect(await usernames("alice")).toStrictEqual(["alice"]);
  });

  test("gives an empty list when there is none", async () => {
    expect((await listing()).Connections).toStrictEqual([]);
  });

  test.each([
    [["alice"], ["alice"]],
    [["ALICE"], []],
    [
      ["alice", "bob"],
      ["alice", "bob"],
    ],
    [["*"], ["alice", "bob", "a*ice", "*amazon?\\", "CORP\\alice", "CORPalice", "a\nb"]],
    [["a?ice"], ["alice", "a*ice"]],
    [["a\\*ice"], ["a*ice"]],
    [["\\*amazon\\?\\\\"], ["*amazon?\\"]],
    [["CORP\\alice"], ["CORPalice"]],
    [["CORP\\\\alice"], ["CORP\\alice"]],
    [["b.b"], []],
    [["a?b"], ["a\nb"]],
  ])("reads the filter values %j with wildcards and escapes", async (values, found) => {
    for (const username of ["alice", "bob", "a*ice", "*amazon?\\", "CORP\\alice", "CORPalice", "a\nb"]) {
      ec2.addConnection({ username });
    }
    expect(await usernames(...values)).toStrictEqual(found);
  });

  test("reads filter values literally when told to", async () => {
    ec2.wildcards = false;
    for (const username of ["alice", "*", "CORP\\alice"]) ec2.addConnection({ username });
    expect(await usernames("*")).toStrictEqual(["*"]);
    expect(await usernames("CORP\\alice")).toStrictEqual(["CORP\\alice"]);
  });

  test("ANDs filters, and knows connection-id", async () => {
    const { connectionId } = ec2.addConnection();
    ec2.addConnection();
    const byId = { Name: "connection-id", Values: [connectionId] };
    expect((await listing({ Filters: [byId] })).Connections).toHaveLength(1);
    const byBoth = [byId, { Name: "username", Values: ["bob"] }];
    expect((await listing({ Filters: byBoth })).Connections).toHaveLength(0);
  });

  test("pages with MaxResults and NextToken", async () => {
    for (let i = 0; i < 12; i++) ec2.addConnection({ username: `user-${i}` });
    const first = await listing({ MaxResults: 5 });
    const second = await listing({ MaxResults: 5, NextToken: first.NextToken });
    const third = await listing({ MaxResults: 5, NextToken: second.NextToken });
    const pages = [first, second, third].map(({ Connections = [] }) => Connections.length);
    expect(pages).toStrictEqual([5, 5, 2]);
    expect(third.NextToken).toBeUndefined();
  });

  test.each([
    ["a page of less than 5", { MaxResults: 4 }, "InvalidParameterValue"],
    ["a page of more than 1000", { MaxResults: 1001 }, "InvalidParameterValue"],
    ["a made-up token", { NextToken: "made-up" }, "InvalidNextToken"],
    ["an unknown filter", { Filters: [{ Name: "status", Values: ["active"] }] }, "InvalidParameterValue"],
    [
      "more than 200 values",
      { Filters: [{ Name: "username", Values: Array.from({ length: 201 }, (_, i) => `user-${i}`) }] },
      "FilterLimitExceeded",
    ],
    [
      "an unknown endpoint",
      { ClientVpnEndpointId: "cvpn-endpoint-00000000000000000" },
      "InvalidClientVpnEndpointId.NotFound",
    ],
    ["no endpoint", { ClientVpnEndpointId: "" }, "MissingParameter"],
    ["a dry run", { DryRun: true }, "DryRunOperation"],
  ])("refuses %s", async (_, input, name) => {
    await expect(listing(input)).rejects.toMatchObject({ name });
  });

  test("keeps a terminated connection for an hour", async () => {
    const rows = [3_590_000, 3_610_000].map((ms): Connection => {
      return ec2.addConnection({ status: "terminated", endedAt: new Date(Date.now() - ms) });
    });
    const { Connections = [] } = await listing();
    expect(Connections.map(({ ConnectionId }) => ConnectionId)).toStrictEqual([rows[0]?.connectionId]);
  });
});

test("a token bucket lets its capacity through at once, and then as many a second as it is refilled with", () => {
  vi.useFakeTimers();
  onTestFinished(() => void vi.useRealTimers());
  const bucket = new TokenBucket(3, 20);
  const taken = () => Array.from({ length: 6 }, () => bucket.take()).filter(Boolean).length;
  expect(taken()).toBe(3);
  vi.advanceTimersByTime(100);
  expect(taken()).toBe(2);
  vi.advanceTimersByTime(60_000);
  expect(taken()).toBe(3);
});

test("what an empty token bucket refuses is throttled", async () => {
  ec2.buckets = { DescribeClientVpnConnections: new TokenBucket(3, 0) };
  const { url: endpoint, region, accessKeyId, secretAccessKey } = ec2;
  const once = new EC2Client({ endpoint, region, credentials: { accessKeyId, secretAccessKey }, maxAttempts: 1 });
  const outcomes = await Promise.allSettled(Array.from({ length: 6 }, () => listing({}, once)));
  const refused = outcomes.filter(({ status }) => status === "rejected");
  expect(refused).toHaveLength(3);
  for (const outcome of refused) expect(outcome).toMatchObject({ reason: { name: "RequestLimitExceeded" } });
  once.destroy();
});

describe("DescribeClientVpnEndpoints", () => {
  const endpoints = (...ClientVpnEndpointIds: string[]) =>
    client.send(new DescribeClientVpnEndpointsCommand({ ClientVpnEndpointIds }));

  test("gives the endpoint, as it is usually, with what AWS documents of it", async () => {
    const { ClientVpnEndpoints = [] } = await endpoints(ENDPOINT_ID);
    expect(ClientVpnEndpoints).toStrictEqual([
      {
        ClientVpnEndpointId: ENDPOINT_ID,
        Description: "",
        Status: { Code: "available" },
        CreationTime: "2026-01-05T08:00:00",
        DnsName: `*.${ENDPOINT_ID}.prod.clientvpn.eu-central-1.amazonaws.com`,
        ClientCidrBlock: "10.0.0.0/16",
        SplitTunnel: true,
        VpnProtocol: "openvpn",
        TransportProtocol: "udp",
        VpnPort: 443,
        ServerCertificateArn: expect.stringMatching(/^arn:aws:acm:/),
        AuthenticationOptions: [
          { Type: "directory-service-authentication", ActiveDirectory: { DirectoryId: "d-1234567890" } },
        ],
        ConnectionLogOptions: { Enabled: false },
        ClientConnectOptions: { Enabled: false },
        SessionTimeoutHours: 24,
        DisconnectOnSessionTimeout: true,
      },
    ]);
  });

  test("gives the handler that is set, the connection log, device posture, and each kind of authentication", async () => {
    const arn = "arn:aws:lambda:eu-central-1:111122223333:function:AWSClientVPN-vpn-sessions";
    ec2.endpoint = {
      status: "pending-associate",
      authentication: ["certificate-authentication", "federated-authentication"],
      handler: { arn, status: "applying" },
      connectionLog: "/vpn/<log>",
      sessionTimeoutHours: 8,
      disconnectOnSessionTimeout: false,
      trustProviders: ["jumpcloud"],
    };
    expect((await endpoints()).ClientVpnEndpoints).toMatchObject([
      {
        Status: { Code: "pending-associate" },
        AuthenticationOptions: [
          {
            Type: "certificate-authentication",
            MutualAuthentication: { ClientRootCertificateChain: expect.stringMatching(/^arn:aws:acm:/) },
          },
          {
            Type: "federated-authentication",
            FederatedAuthentication: { SamlProviderArn: expect.stringMatching(/^arn:aws:iam:/) },
          },
        ],
        ConnectionLogOptions: { Enabled: true, CloudwatchLogGroup: "/vpn/<log>" },
        ClientConnectOptions: { Enabled: true, LambdaFunctionArn: arn, Status: { Code: "applying" } },
        SessionTimeoutHours: 8,
        DisconnectOnSessionTimeout: false,
        DevicePostureOptions: { TrustProviders: [{ TrustProviderType: "jumpcloud" }] },
      },
    ]);
  });

  test("refuses an unknown endpoint", async () => {
    const failed = endpoints("cvpn-endpoint-00000000000000000");
    await expect(failed).rejects.toMatchObject({ name: "InvalidClientVpnEndpointId.NotFound" });
  });
});

describe("TerminateClientVpnConnections", () => {
  test("ends a connection by its id, once", async () => {
    const { connectionId } = ec2.addConnection();
    expect((await termination({ ConnectionId: connectionId })).ConnectionStatuses).toStrictEqual([
      { ConnectionId: connectionId, PreviousStatus: { Code: "active" }, CurrentStatus: { Code: "terminating" } },
    ]);
    expect((await listing()).Connections).toMatchObject([{ Status: { Code: "terminated" } }]);
    const again = termination({ ConnectionId: connectionId });
    await expect(again).rejects.toMatchObject({ name: "InvalidClientVpnConnection.IdNotFound" });
  });

  test("ends all of a user's connections by name, up to five", async () => {
    for (let i = 0; i < 5; i++) ec2.addConnection();
    const bob = ec2.addConnection({ username: "bob" });
    expect((await termination({ Username: "alice" })).ConnectionStatuses).toHaveLength(5);
    expect(bob.status).toBe("active");
    for (let i = 0; i < 6; i++) ec2.addConnection();
    await expect(termination({ Username: "alice" })).rejects.toMatchObject({ name: "InvalidParameterValue" });
  });

  test("ends nobody by an id that does not exist", async () => {
    const nameless = ec2.addConnection({ username: "" });
    const failed = termination({ ConnectionId: "cvpn-connection-00000000000000000" });
    await expect(failed).rejects.toMatchObject({ name: "InvalidClientVpnConnection.IdNotFound" });
    expect(nameless.status).toBe("active");
  });

  test("wants either an id or a name", async () => {
    await expect(termination({})).rejects.toMatchObject({ name: "MissingParameter" });
  });
});

test("serves the endpoints of others beside its own, each with its own connections and faults", async () => {
  const other = new LoopbackEc2();
  other.endpointId = "cvpn-endpoint-0b0b0b0b0b0b0b0b0";
  ec2.beside = [other];
  onTestFinished(() => {
    ec2.beside = [];
  });
  const { connectionId } = other.addConnection();
  other.fail("DescribeClientVpnConnections", REFUSED);
  expect((await listing()).Connections).toEqual([]);
  const listingOther = () => listing({ ClientVpnEndpointId: other.endpointId });
  await expect(listingOther()).rejects.toMatchObject({ name: REFUSED.code });
  expect((await listingOther()).Connections).toMatchObject([{ ConnectionId: connectionId }]);
  await expect(termination({ ConnectionId: connectionId })).rejects.toMatchObject({
    name: "InvalidClientVpnConnection.IdNotFound",
  });
  expect([ec2.requests.length, other.requests.length]).toEqual([2, 2]);
});

describe("a login through Client VPN", () => {
  const answer = (...statuses: string[]) => ({ ...ALLOWED, "posture-compliance-statuses": statuses });
  const event = connectEvent({ username: "Zoë", "common-name": "laptop" });

  async function loginWith(response: ClientConnectResponse, fields: Partial<Connection> = {}) {
    const handler = { invoke: async () => ({ response, log: [], durationMs: 0, lateMs: 0 }) };
    const { connection } = await authorize(ec2, handler, event, fields);
    return { connection, listed: (await listing()).Connections };
  }

  test("that is allowed is a connection of its names, with the statuses of the answer", async () => {
    const { connection, listed } = await loginWith(answer("one", "two"));
    expect(listed).toMatchObject([
      {
        ConnectionId: CONNECTION_ID,
        Username: "Zoë",
        CommonName: "laptop",
        Status: { Code: "active" },
        PostureComplianceStatuses: ["one", "two"],
      },
    ]);
    expect(await usernames("Zoë")).toStrictEqual(["Zoë"]);
    expect(ec2.connections).toStrictEqual([connection]);
  });

  test("that is allowed without statuses is listed without any", async () => {
    expect((await loginWith(answer())).listed?.[0]).not.toHaveProperty("PostureComplianceStatuses");
  });

  test("is listed otherwise where EC2 spells its name in another way, or keeps no statuses", async () => {
    const fields = { username: "zoe", filterUsername: "zoe", postureComplianceStatuses: undefined };
    const { listed } = await loginWith(answer("one"), fields);
    expect(listed).toMatchObject([{ ConnectionId: CONNECTION_ID, Username: "zoe" }]);
    expect(listed?.[0]).not.toHaveProperty("PostureComplianceStatuses");
  });

  test("that is denied is no connection", async () => {
    const { connection, listed } = await loginWith({ ...answer("one"), allow: false });
    expect([connection, listed]).toStrictEqual([undefined, []]);
  });

  test.each([
    ["eleven statuses", Array.from({ length: 11 }, (_, i) => `${i}`), "ten statuses at most, not 11"],
    ["a status of 256 characters", ["one", "2".repeat(256)], "no status as long as 2"],
  ])("is refused with %s, as Client VPN does", async (_, statuses, why) => {
    await expect(loginWith(answer(...statuses))).rejects.toThrow(why);
    await loginWith(answer(...statuses.slice(-10).map((status) => status.slice(-255))));
    expect(ec2.connections).toHaveLength(1);
  });
});

describe("the signature", () => {
  test.each([{ secretAccessKey: "wrong" }, { accessKeyId: "AKIDUNKNOWN" }])("is refused with %j", async (settings) => {
    const stranger = clientWith(settings);
    await expect(listing({}, stranger)).rejects.toMatchObject({ name: "AuthFailure" });
    stranger.destroy();
  });

  test("is refused when it is not there", async () => {
    const body = "Action=DescribeClientVpnConnections&Version=2016-11-15";
    const response = await fetch(ec2.url, { method: "POST", body });
    expect(response.status).toBe(403);
    expect(await response.text()).toContain("<Code>MissingAuthenticationToken</Code>");
    expect(ec2.requests).toHaveLength(0);
  });
});
