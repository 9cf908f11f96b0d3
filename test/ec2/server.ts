/**
 * A loopback EC2: the two Client VPN actions that the handler calls, and DescribeClientVpnEndpoints, in the EC2 Query
 * protocol as AWS documents it (form-encoded POST, XML answer, Signature Version 4), with faults that tests can inject.
 */

import { randomUUID } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { devNull } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import type { Connection } from "./connection.ts";
import { type Endpoint, endpointToXml, USUAL_ENDPOINT } from "./endpoint.ts";
import {
  type AnyAction,
  Ec2Error,
  ec2Error,
  type Fault,
  FOREIGN_BODIES,
  isForeign,
  NOT_SHOWN,
  THROTTLED,
} from "./faults.ts";
import { type Filter, filtersFrom, wildcardMatcher } from "./filters.ts";
import { checkSignature } from "./signature.ts";
import type { TokenBucket } from "./token-bucket.ts";
import { ANOTHER_ENDPOINT, DECLARATION, element, ODD_STATUS, toXml, XMLNS } from "./xml.ts";

export interface Request {
  action: AnyAction;
  /** When it came, in ms of performance.now(). */
  at: number;
  /** The form, name by name, as it came. */
  params: URLSearchParams;
}

export const ENDPOINT_ID = "cvpn-endpoint-0f13eab7f860433cc";
const HOUR_MS = 3_600_000;
const DRIP_MS = 200; // between two bytes of a body that never ends
const ENDLESS_MS = 20; // for a page of a list without an end; EC2 takes longer for any answer
const ACTIONS: AnyAction[] = [
  "DescribeClientVpnConnections",
  "DescribeClientVpnEndpoints",
  "TerminateClientVpnConnections",
];

export class LoopbackEc2 {
  readonly accessKeyId = "AKIDLOOPBACK";
  readonly secretAccessKey = "loopback-secret";
  readonly region = "eu-central-1";
  /** Whether filter values take wildcards and escapes, as EC2 documents in general; otherwise they are literal. */
  wildcards = true;
  /**
   * Names that no row has, whatever a connection's are; nor does a filter find anybody by them. AWS documents user names for
   * Active Directory alone, and leaves open what becomes of them elsewhere.
   */
  hidden = new Set<"username" | "commonName">();
  /** The one endpoint that exists here. */
  endpointId = ENDPOINT_ID;
  endpoint: Endpoint = USUAL_ENDPOINT;
  /** Others, whose endpoints are served here too: EC2 has one address, but each endpoint its own connections and faults. */
  beside: LoopbackEc2[] = [];
  /** The most rows that a page has, whatever the caller asks for. */
  pageSize = 1_000;
  /** What throttles an action; without it, nothing does. */
  buckets: Partial<Record<AnyAction, TokenBucket>> = {};
  /** How long a request is on its way here, in ms. */
  latency: () => number = () => 0;
  connections: Connection[] = [];
  /** The connections in all answers of DescribeClientVpnConnections that were sent whole. */
  shown = new Set<Connection>();
  // Looked up rather than searched, so that the time of an answer does not depend on other users' connections.
  #byUsername = new Map<string, Connection[]>();
  #byId = new Map<string, Connection>();
  /** All signed requests, in the order in which they came. */
  requests: Request[] = [];
  /** How many came without a valid signature. */
  refused = 0;
  #faults: { action: AnyAction; choose: (params: URLSearchParams) => Fault | undefined; times: number }[] = [];
  /** The answers that a fault keeps from ending. */
  #stuck = new Set<ServerResponse>();
  readonly #server: Server;
  readonly #scheme: string;

  /** With a key and a certificate (PEM), it speaks HTTPS, as EC2 does. */
  constructor(tls?: { key: string; cert: string }) {
    const listener = (request: IncomingMessage, response: ServerResponse) => {
      this.#serve(request, response).catch((error) => {
        console.error("loopback EC2 failed:", error);
        response.destroy();
      });
    };
    this.#server = tls === undefined ? createServer(listener) : createTlsServer(tls, listener);
    // Longer than any test looks: whoever leaves a socket open is not helped.
    this.#server.keepAliveTimeout = 60_000;
    this.#scheme = tls === undefined ? "http" : "https";
  }

  async start(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    return this;
  }

  async close(): Promise<void> {
    this.reset();
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /** Forgets connections, requests and faults, and drops the sockets of faults that are under way. */
  reset(): void {
    this.wildcards = true;
    this.hidden.clear();
    this.endpointId = ENDPOINT_ID;
    this.endpoint = USUAL_ENDPOINT;
    this.pageSize = 1_000;
    this.buckets = {};
    this.latency = () => 0;
    this.connections = [];
    this.shown.clear();
    this.#byUsername.clear();
    this.#byId.clear();
    this.requests = [];
    this.refused = 0;
    this.#faults = [];
    for (const response of this.#stuck) response.destroy();
    this.#stuck.clear();
  }

  /** How many sockets callers have open. */
  async openSockets(): Promise<number> {
    return await new Promise((resolve, reject) => {
      this.#server.getConnections((error, count) => (error ? reject(error) : resolve(count)));
    });
  }

  get url(): string {
    const address = this.#server.address();
    if (address === null || typeof address === "string") throw new Error("loopback EC2 is not listening");
    return `${this.#scheme}://127.0.0.1:${address.port}`;
  }

  /** What points an unchanged AWS SDK or CLI here, as Lambda's environment points it to AWS. */
  get env() {
    return {
      AWS_REGION: this.region,
      AWS_ACCESS_KEY_ID: this.accessKeyId,
      AWS_SECRET_ACCESS_KEY: this.secretAccessKey,
      AWS_ENDPOINT_URL_EC2: this.url,
      // The settings of whoever runs this must not change what it shows.
      AWS_CONFIG_FILE: devNull,
      AWS_SHARED_CREDENTIALS_FILE: devNull,
    };
  }

  /** Adds a connection; `username: undefined` gives a row without a user name that the filter still finds as `alice`. */
  addConnection(connection: Partial<Connection> = {}): Connection {
    const filterUsername = connection.filterUsername ?? connection.username ?? "alice";
    const row: Connection = {
      connectionId: `cvpn-connection-${randomUUID().replaceAll("-", "").slice(0, 17)}`,
      endpointId: this.endpointId,
      username: filterUsername,
      filterUsername,
      commonName: filterUsername,
      clientIp: "10.0.0.2",
      status: "active",
      establishedAt: new Date(Date.now() - HOUR_MS),
      ...connection,
    };
    this.connections.push(row);
    this.#byId.set(row.connectionId, row);
    const ofUser = this.#byUsername.get(filterUsername);
    if (ofUser) ofUser.push(row);
    else this.#byUsername.set(filterUsername, [row]);
    return row;
  }

  /** Lets the next `times` requests of an action fail, or those of them for which `fault` returns a fault. */
  fail(action: AnyAction, fault: Fault | ((params: URLSearchParams) => Fault | undefined), times = 1): void {
    this.#faults.push({ action, choose: typeof fault === "function" ? fault : () => fault, times });
  }

  #nextFault(action: AnyAction, params: URLSearchParams): Fault | undefined {
    for (const entry of this.#faults) {
      if (entry.action !== action || entry.times === 0) continue;
      const fault = entry.choose(params);
      if (fault === undefined) continue;
      entry.times -= 1;
      return fault;
    }
    return undefined;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const body = Buffer.concat(chunks);
    const latency = this.latency();
    if (latency > 0) await sleep(latency);
    try {
      this.#checkSignature(request, body);
      const params = new URLSearchParams(body.toString("utf8"));
      const name = params.get("Action");
      const action = ACTIONS.find((known) => known === name);
      if (action === undefined) {
        throw ec2Error(400, "InvalidAction", `The action ${name} is not valid for this web service.`);
      }
      if (params.get("Version") !== "2016-11-15") {
        throw ec2Error(400, "InvalidAction", `The version ${params.get("Version")} is not known here.`);
      }
      const ec2 =
        [this, ...this.beside].find(({ endpointId }) => endpointId === params.get("ClientVpnEndpointId")) ?? this;
      ec2.requests.push({ action, at: performance.now(), params });
      if (params.get("DryRun") === "true") {
        throw ec2Error(412, "DryRunOperation", "Request would have succeeded, but DryRun flag is set.");
      }
      ec2.#checkEndpoint(action, params);
      if (ec2.buckets[action]?.take() === false) throw new Ec2Error(THROTTLED);
      const fault = ec2.#nextFault(action, params);
      if (typeof fault === "object") {
        throw new Ec2Error(fault);
      }
      if (fault === "hang" || fault === "stall" || fault === "drip") ec2.#stuck.add(response);
      if (fault === "hang") return;
      if (fault === "reset") return void request.socket.resetAndDestroy();
      // At once, it would keep both sides busy until the caller's time is over.
      if (fault === "endless") await sleep(ENDLESS_MS);
      if (isForeign(fault)) return this.#send(response, 200, FOREIGN_BODIES[fault]);
      this.#send(response, 200, DECLARATION + ec2.#answer(action, params, fault), fault);
    } catch (error) {
      if (!(error instanceof Ec2Error)) throw error;
      const { status, code, message, headers = {}, body } = error.document;
      for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
      const errors = `<Errors><Error>${element("Code", code)}${element("Message", message)}</Error></Errors>`;
      const document = `${DECLARATION}<Response>${errors}${element("RequestID", randomUUID())}</Response>`;
      this.#send(response, status, body ?? document);
    }
  }

  #send(response: ServerResponse, status: number, text: string, fault?: Fault): void {
    const body = Buffer.from(text);
    const half = body.subarray(0, body.length / 2);
    response.writeHead(status, { "content-type": "text/xml;charset=UTF-8", "x-amzn-requestid": randomUUID() });
    if (fault === "stall") {
      response.write(half);
    } else if (fault === "truncate") {
      response.write(half, () => response.destroy());
    } else if (fault === "drip") {
      response.write("<drip>");
      const timer = setInterval(() => response.write(" "), DRIP_MS);
      response.once("close", () => clearInterval(timer));
    } else {
      response.end(body);
    }
  }

  #answer(action: AnyAction, params: URLSearchParams, fault: Fault | undefined): string {
    if (action === "DescribeClientVpnEndpoints") return this.#describeEndpoints(params);
    return action === "DescribeClientVpnConnections" ? this.#describe(params, fault) : this.#terminate(params, fault);
  }

  #describeEndpoints(params: URLSearchParams): string {
    if (params.has("Filter.1.Name")) {
      throw ec2Error(400, "InvalidParameterValue", "Filters of endpoints are not known here");
    }
    return (
      `<DescribeClientVpnEndpointsResponse xmlns="${XMLNS}">${element("requestId", randomUUID())}` +
      element("clientVpnEndpoint", endpointToXml(this.endpointId, this.endpoint), "xml") +
      "</DescribeClientVpnEndpointsResponse>"
    );
  }

  #describe(params: URLSearchParams, fault: Fault | undefined): string {
    const maxResults = Number(params.get("MaxResults") ?? 1000);
    if (!Number.isInteger(maxResults) || maxResults < 5 || maxResults > 1000) {
      throw ec2Error(
        400,
        "InvalidParameterValue",
        `Value ( ${maxResults} ) for parameter maxResults is invalid. Expecting a value between 5 and 1000.`,
      );
    }
    const size = Math.min(maxResults, this.pageSize);
    const start = params.has("NextToken") ? offsetOf(params.get("NextToken") ?? "") : 0;
    const oldest = Date.now() - HOUR_MS;
    const rows = this.#filtered(filtersFrom(params)).filter(
      (row) => row.endpointId === this.endpointId && (row.endedAt === undefined || row.endedAt.getTime() > oldest),
    );
    const page = rows.slice(start, start + size);
    const end = fault === "same-token" ? start : start + size;
    const isLast = end >= rows.length && fault !== "endless" && fault !== "same-token";
    const next = isLast ? "" : tokenOf(end);
    const items = page.map((row) => toXml(row, this.hidden, fault)).join("");
    if (fault === undefined || !NOT_SHOWN.has(fault)) for (const row of page) this.shown.add(row);
    return (
      `<DescribeClientVpnConnectionsResponse xmlns="${XMLNS}">${element("requestId", randomUUID())}` +
      (page.length > 0
        ? `<connections>${items}${fault === "duplicates" ? items : ""}</connections>`
        : "<connections/>") +
      (next === "" ? "" : element("nextToken", next)) +
      "</DescribeClientVpnConnectionsResponse>"
    );
  }

  #filtered(filters: Filter[]): Connection[] {
    if (filters.some(({ name }) => name === "username" && this.hidden.has(name))) return [];
    const isLiteral = (value: string) => !this.wildcards || !/[*?\\]/.test(value);
    const byName = filters.find(({ name, values }) => name === "username" && values.every(isLiteral));
    const candidates = byName?.values.flatMap((value) => this.#byUsername.get(value) ?? []) ?? this.connections;
    const matchers = filters.map(({ name, values }) => {
      const matches = values.map((value) =>
        isLiteral(value) ? (text: string) => text === value : wildcardMatcher(value),
      );
      return (row: Connection) =>
        matches.some((match) => match(name === "username" ? row.filterUsername : row.connectionId));
    });
    return candidates.filter((row) => matchers.every((matches) => matches(row)));
  }

  #terminate(params: URLSearchParams, fault: Fault | undefined): string {
    const connectionId = params.get("ConnectionId");
    const username = params.get("Username");
    if ((connectionId === null) === (username === null)) {
      throw ec2Error(400, "MissingParameter", "The request must contain either ConnectionId or Username");
    }
    const named = connectionId === null ? this.#byUsername.get(username ?? "") : [this.#byId.get(connectionId)];
    const rows = (named ?? [])
      .filter((row) => row !== undefined)
      .filter((row) => row.endpointId === this.endpointId && row.endedAt === undefined);
    if (connectionId !== null && rows.length === 0) {
      throw ec2Error(400, "InvalidClientVpnConnection.IdNotFound", `Connection ${connectionId} does not exist.`);
    }
    if (rows.length > 5) {
      throw ec2Error(400, "InvalidParameterValue", `User ${username} has more than five connections.`);
    }
    const statuses = rows.map((row) => {
      const previous = row.status;
      let current = "terminating";
      if (fault === "failed-to-terminate") {
        current = row.status = fault;
      } else if (fault === "odd-status") {
        current = ODD_STATUS;
      } else if (fault !== "another-endpoint") {
        row.status = "terminated";
        row.endedAt = new Date();
      }
      return (
        `<item>${element("connectionId", row.connectionId)}` +
        `<previousStatus>${element("code", previous)}</previousStatus>` +
        `<currentStatus>${element("code", current)}</currentStatus></item>`
      );
    });
    return (
      `<TerminateClientVpnConnectionsResponse xmlns="${XMLNS}">${element("requestId", randomUUID())}` +
      element("clientVpnEndpointId", fault === "another-endpoint" ? ANOTHER_ENDPOINT : this.endpointId) +
      (username === null ? "" : element("username", username)) +
      (fault === "no-statuses" ? "" : `<connectionStatuses>${statuses.join("")}</connectionStatuses>`) +
      "</TerminateClientVpnConnectionsResponse>"
    );
  }

  #checkSignature(request: IncomingMessage, body: Buffer): void {
    try {
      checkSignature(request, body, this);
    } catch (error) {
      this.refused++;
      throw error;
    }
  }

  #checkEndpoint(action: AnyAction, params: URLSearchParams): void {
    const isList = action === "DescribeClientVpnEndpoints";
    // Who names no endpoint gets the list of all.
    if (isList && !params.has("ClientVpnEndpointId.1")) return;
    const endpointId = params.get(isList ? "ClientVpnEndpointId.1" : "ClientVpnEndpointId");
    if (endpointId === null || endpointId === "") {
      throw ec2Error(400, "MissingParameter", "The request must contain the parameter ClientVpnEndpointId");
    }
    if (endpointId !== this.endpointId) {
      throw ec2Error(400, "InvalidClientVpnEndpointId.NotFound", `Endpoint ${endpointId} does not exist`);
    }
  }
}

function tokenOf(offset: number): string {
  return Buffer.from(`offset ${offset}`).toString("base64");
}

function offsetOf(token: string): number {
  const offset = /^offset (\d+)$/.exec(Buffer.from(token, "base64").toString())?.[1];
  if (offset === undefined) throw ec2Error(400, "InvalidNextToken", "The specified NextToken is not valid");
  return Number(offset);
}
