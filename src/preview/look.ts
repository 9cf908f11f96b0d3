/** What the preview reads: the endpoint, and who is connected to it. */

import { Agent } from "node:https";
import type { ClientVpnConnection, ClientVpnEndpoint } from "@aws-sdk/client-ec2";
import type { Options, Output } from "./command.ts";
import { type Asked, Fault, faultOf } from "./faults.ts";
import { count, type Handler, loadHandler, parametersFor, type StackParameters } from "./judge.ts";

/** Reads one page of rows. */
type Read = Parameters<Handler["pagesOf"]>[0];

/** What there is to judge. */
export interface Seen {
  region: string;
  endpoint: ClientVpnEndpoint;
  /** Each connection once, those that ended within the last hour included. */
  rows: ClientVpnConnection[];
  parameters: StackParameters;
  /** It has these parameters as its settings. */
  handler: Handler;
}

/** Reads what EC2 has of the endpoint. What cannot be read is a {@link Fault}. */
export async function look(options: Options, stderr: Output): Promise<Seen> {
  const { endpointId, redact } = options;
  const asked: Asked = { action: "DescribeClientVpnEndpoints", endpointId, region: "", redact };
  try {
    return await ask(asked, options, stderr);
  } catch (error) {
    throw new Fault(faultOf(error, asked));
  }
}

/** Between its two calls, loads the handler, which knows how to read the answer to the second. Notes in `asked` how far it is. */
async function ask(asked: Asked, options: Options, stderr: Output): Promise<Seen> {
  const { endpointId, region: given } = options;
  // It would be in the way: this runs on Node 20 as on any later one.
  process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED = "true";
  // Loaded here, as it takes a moment: help and wrong use are answered before.
  const sdk = await import("@aws-sdk/client-ec2");
  // Everything as the SDK does it, but a dead socket must not keep a person waiting. The SDK would make the same agent, but
  // end the process where HTTPS_PROXY is no address.
  const agentOptions = { keepAlive: true, proxyEnv: process.env };
  const timeOuts = { connectionTimeout: 5_000, requestTimeout: 10_000, throwOnRequestTimeout: true };
  const requestHandler = { ...timeOuts, httpsAgent: new Agent(agentOptions) };
  const client = new sdk.EC2Client({ ...(given && { region: given }), requestHandler });
  try {
    asked.region = await client.config.region();
    const command = new sdk.DescribeClientVpnEndpointsCommand({ ClientVpnEndpointIds: [endpointId] });
    const { ClientVpnEndpoints = [] } = await client.send(command);
    const endpoint = ClientVpnEndpoints.find((one) => one.ClientVpnEndpointId === endpointId);
    if (endpoint === undefined) throw Object.assign(new Error(), { name: "InvalidClientVpnEndpointId.NotFound" });
    const parameters = parametersFor(endpoint, options);
    const handler = await loadHandler(parameters);
    asked.action = "DescribeClientVpnConnections";
    const read: Read = (page) =>
      client.send(new sdk.DescribeClientVpnConnectionsCommand({ ClientVpnEndpointId: endpointId, ...page }));
    return { region: asked.region, endpoint, rows: await readRows(handler, read, stderr), parameters, handler };
  } finally {
    client.destroy();
  }
}

/** Reads each connection once, and tells a terminal how far it is. */
async function readRows({ pagesOf }: Handler, read: Read, stderr: Output): Promise<ClientVpnConnection[]> {
  const rows = new Map<string, ClientVpnConnection>();
  const showProgress = (text: string) => stderr.isTTY && stderr.write(`\r\x1b[K${text}`);
  let isShown = false;
  const pages = pagesOf((page) => {
    isShown = page.NextToken !== undefined;
    if (isShown) showProgress(`reading connections: ${count(rows.size)}`);
    return read(page);
  });
  try {
    for await (const page of pages) {
      for (const row of page) if (row.ConnectionId) rows.set(row.ConnectionId, row);
    }
  } finally {
    if (isShown) showProgress("");
  }
  return [...rows.values()];
}
