/**
 * A loopback EC2: the two Client VPN actions that the handler calls, in the EC2 Query protocol as AWS documents it
 * (form-encoded POST, XML answer, Signature Version 4), with faults that tests can inject.
 */

import { createHash, createHmac, randomBytes } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { devNull } from "node:os";

export type Action = "DescribeClientVpnConnections" | "TerminateClientVpnConnections";

export interface Connection {
  connectionId: string;
  endpointId: string;
  /** Undefined: the row comes without a user name, but the `username` filter still knows it. */
  username?: string | undefined;
  filterUsername: string;
  commonName: string;
  clientIp: string;
  status: "active" | "terminating" | "terminated" | "failed-to-terminate";
  establishedAt: Date;
  endedAt?: Date;
}

/**
 * What can go wrong with one request:
 * - an error document with its HTTP status;
 * - `hang`: no answer; `reset`: the socket is reset; `drip`: an endless body, a byte at a time; `stall`: half a body,
 *   then silence; `truncate`: half a body, then the socket is closed; `not-xml`: a 200 with something else;
 *   `empty`: a 200 without a body;
 * - for DescribeClientVpnConnections, `endless`: a page after which there is always another one;
 * - for TerminateClientVpnConnections, `failed-to-terminate`: a failure inside a 200; `no-statuses`: terminated, but the
 *   answer does not say so.
 */
export type Fault =
  | { status: number; code: string; message: string; headers?: Record<string, string> }
  | "hang"
  | "reset"
  | "drip"
  | "stall"
  | "truncate"
  | "not-xml"
  | "empty"
  | "endless"
  | "failed-to-terminate"
  | "no-statuses";

export const THROTTLED = {
  status: 503,
  code: "RequestLimitExceeded",
  message: "Request limit exceeded.",
} satisfies Fault;

export interface Request {
  action: Action;
  /** The form, name by name, as it came. */
  params: URLSearchParams;
}

export const ENDPOINT_ID = "cvpn-endpoint-0f13eab7f860433cc";

const XMLNS = "http://ec2.amazonaws.com/doc/2016-11-15/";
const HOUR_MS = 3_600_000;

class Ec2Error extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

export class LoopbackEc2 {
  readonly accessKeyId = "AKIDLOOPBACK";
  readonly secretAccessKey = "loopback-secret";
  readonly region = "eu-central-1";
  /** Whether filter values take wildcards and escapes, as EC2 documents in general; otherwise they are literal. */
  wildcards = true;
  connections: Connection[] = [];
  // Looked up rather than searched, so that the time of an answer does not depend on other users' connections.
  #byUsername = new Map<string, Connection[]>();
  #byId = new Map<string, Connection>();
  /** All signed requests, in the order in which they came. */
  requests: Request[] = [];
  #faults: { action: Action; choose: (params: URLSearchParams) => Fault | undefined; times: number }[] = [];
  /** The answers that a fault keeps from ending. */
  #stuck = new Set<ServerResponse>();
  readonly #server = createServer((request, response) => {
    this.#serve(request, response).catch((error) => {
      console.error("loopback EC2 failed:", error);
      response.destroy();
    });
  });

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
    this.connections = [];
    this.#byUsername.clear();
    this.#byId.clear();
    this.requests = [];
    this.#faults = [];
    for (const response of this.#stuck) response.destroy();
    this.#stuck.clear();
  }

  get url(): string {
    const address = this.#server.address();
    if (address === null || typeof address === "string") throw new Error("loopback EC2 is not listening");
    return `http://127.0.0.1:${address.port}`;
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
  connect(connection: Partial<Connection> = {}): Connection {
    const filterUsername = connection.filterUsername ?? connection.username ?? "alice";
    const row: Connection = {
      connectionId: `cvpn-connection-${randomBytes(9).toString("hex").slice(0, 17)}`,
      endpointId: ENDPOINT_ID,
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
  fail(action: Action, fault: Fault | ((params: URLSearchParams) => Fault | undefined), times = 1): void {
    this.#faults.push({ action, choose: typeof fault === "function" ? fault : () => fault, times });
  }

  #nextFault(action: Action, params: URLSearchParams): Fault | undefined {
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
    try {
      this.#checkSignature(request, body);
      const params = new URLSearchParams(body.toString("utf8"));
      const action = params.get("Action");
      if (action !== "DescribeClientVpnConnections" && action !== "TerminateClientVpnConnections") {
        throw new Ec2Error(400, "InvalidAction", `The action ${action} is not valid for this web service.`);
      }
      if (params.get("Version") !== "2016-11-15") {
        throw new Ec2Error(400, "InvalidAction", `The version ${params.get("Version")} is not known here.`);
      }
      this.requests.push({ action, params });
      if (params.get("DryRun") === "true") {
        throw new Ec2Error(412, "DryRunOperation", "Request would have succeeded, but DryRun flag is set.");
      }
      const fault = this.#nextFault(action, params);
      if (typeof fault === "object") {
        for (const [name, value] of Object.entries(fault.headers ?? {})) response.setHeader(name, value);
        throw new Ec2Error(fault.status, fault.code, fault.message);
      }
      if (fault === "hang" || fault === "stall" || fault === "drip") this.#stuck.add(response);
      if (fault === "hang") return;
      if (fault === "reset") return void request.socket.resetAndDestroy();
      const answer =
        action === "DescribeClientVpnConnections" ? this.#describe(params, fault) : this.#terminate(params, fault);
      this.#send(response, 200, answer, fault);
    } catch (error) {
      if (!(error instanceof Ec2Error)) throw error;
      const { status, code, message } = error;
      const errors = `<Errors><Error>${element("Code", code)}${element("Message", message)}</Error></Errors>`;
      this.#send(response, status, `<Response>${errors}${element("RequestID", requestId())}</Response>`);
    }
  }

  #send(response: ServerResponse, status: number, xml: string, fault?: Fault): void {
    const text = fault === "not-xml" ? "upstream connect error" : `<?xml version="1.0" encoding="UTF-8"?>\n${xml}`;
    const body = Buffer.from(fault === "empty" ? "" : text);
    const half = body.subarray(0, body.length / 2);
    response.writeHead(status, { "content-type": "text/xml;charset=UTF-8", "x-amzn-requestid": requestId() });
    if (fault === "stall") {
      response.write(half);
    } else if (fault === "truncate") {
      response.write(half, () => response.destroy());
    } else if (fault === "drip") {
      response.write("<drip>");
      const timer = setInterval(() => response.write(" "), 50);
      response.once("close", () => clearInterval(timer));
    } else {
      response.end(body);
    }
  }

  #describe(params: URLSearchParams, fault: Fault | undefined): string {
    const endpointId = checkEndpoint(params);
    const maxResults = Number(params.get("MaxResults") ?? 1000);
    if (!Number.isInteger(maxResults) || maxResults < 5 || maxResults > 1000) {
      throw new Ec2Error(
        400,
        "InvalidParameterValue",
        `Value ( ${maxResults} ) for parameter maxResults is invalid. Expecting a value between 5 and 1000.`,
      );
    }
    const start = params.has("NextToken") ? offsetOf(params.get("NextToken") ?? "") : 0;
    const oldest = Date.now() - HOUR_MS;
    const rows = this.#filtered(filtersFrom(params)).filter(
      (row) => row.endpointId === endpointId && (row.endedAt === undefined || row.endedAt.getTime() > oldest),
    );
    const page = rows.slice(start, start + maxResults);
    const isLast = start + maxResults >= rows.length && fault !== "endless";
    const next = isLast ? "" : tokenOf(start + maxResults);
    return (
      `<DescribeClientVpnConnectionsResponse xmlns="${XMLNS}">${element("requestId", requestId())}` +
      (page.length > 0 ? `<connections>${page.map(toXml).join("")}</connections>` : "<connections/>") +
      (next === "" ? "" : element("nextToken", next)) +
      "</DescribeClientVpnConnectionsResponse>"
    );
  }

  #filtered(filters: Filter[]): Connection[] {
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
    const endpointId = checkEndpoint(params);
    const connectionId = params.get("ConnectionId");
    const username = params.get("Username");
    if ((connectionId === null) === (username === null)) {
      throw new Ec2Error(400, "MissingParameter", "The request must contain either ConnectionId or Username");
    }
    const named = connectionId === null ? this.#byUsername.get(username ?? "") : [this.#byId.get(connectionId)];
    const rows = (named ?? [])
      .filter((row) => row !== undefined)
      .filter((row) => row.endpointId === endpointId && row.endedAt === undefined);
    if (connectionId !== null && rows.length === 0) {
      throw new Ec2Error(400, "InvalidClientVpnConnection.IdNotFound", `Connection ${connectionId} does not exist.`);
    }
    if (rows.length > 5) {
      throw new Ec2Error(400, "InvalidParameterValue", `User ${username} has more than five connections.`);
    }
    const statuses = rows.map((row) => {
      const previous = row.status;
      row.status = fault === "failed-to-terminate" ? "failed-to-terminate" : "terminated";
      if (row.status === "terminated") row.endedAt = new Date();
      const current = row.status === "terminated" ? "terminating" : row.status;
      return (
        `<item>${element("connectionId", row.connectionId)}` +
        `<previousStatus>${element("code", previous)}</previousStatus>` +
        `<currentStatus>${element("code", current)}</currentStatus></item>`
      );
    });
    return (
      `<TerminateClientVpnConnectionsResponse xmlns="${XMLNS}">${element("requestId", requestId())}` +
      element("clientVpnEndpointId", endpointId) +
      (username === null ? "" : element("username", username)) +
      (fault === "no-statuses" ? "" : `<connectionStatuses>${statuses.join("")}</connectionStatuses>`) +
      "</TerminateClientVpnConnectionsResponse>"
    );
  }

  /** Signature Version 4 of a POST to `/`, computed again from what came. */
  #checkSignature(request: IncomingMessage, body: Buffer): void {
    const { authorization } = request.headers;
    if (authorization === undefined) {
      throw new Ec2Error(403, "MissingAuthenticationToken", "Request is missing Authentication Token");
    }
    const [, accessKeyId, scope = "", signedHeaders = "", signature] =
      /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\S+?), ?SignedHeaders=(\S+?), ?Signature=([0-9a-f]{64})$/.exec(
        authorization,
      ) ?? [];
    const headers = signedHeaders.split(";").map((name) => `${name}:${String(request.headers[name]).trim()}\n`);
    const canonical = [request.method, request.url, "", headers.join(""), signedHeaders, sha256(body)].join("\n");
    const toSign = ["AWS4-HMAC-SHA256", request.headers["x-amz-date"], scope, sha256(canonical)].join("\n");
    const key = scope.split("/").reduce<string | Buffer>((k, part) => hmac(k, part), `AWS4${this.secretAccessKey}`);
    if (accessKeyId !== this.accessKeyId || hmac(key, toSign).toString("hex") !== signature) {
      throw new Ec2Error(401, "AuthFailure", "AWS was not able to validate the provided access credentials");
    }
  }
}

function checkEndpoint(params: URLSearchParams): string {
  const endpointId = params.get("ClientVpnEndpointId");
  if (endpointId === null || endpointId === "") {
    throw new Ec2Error(400, "MissingParameter", "The request must contain the parameter ClientVpnEndpointId");
  }
  if (endpointId !== ENDPOINT_ID) {
    throw new Ec2Error(400, "InvalidClientVpnEndpointId.NotFound", `Endpoint ${endpointId} does not exist`);
  }
  return endpointId;
}

interface Filter {
  name: "username" | "connection-id";
  values: string[];
}

function filtersFrom(params: URLSearchParams): Filter[] {
  const filters: Filter[] = [];
  for (let f = 1; params.has(`Filter.${f}.Name`); f++) {
    const name = params.get(`Filter.${f}.Name`);
    if (name !== "username" && name !== "connection-id") {
      throw new Ec2Error(400, "InvalidParameterValue", `The filter '${name}' is invalid`);
    }
    const values = new Set<string>();
    for (let v = 1; params.has(`Filter.${f}.Value.${v}`); v++) values.add(params.get(`Filter.${f}.Value.${v}`) ?? "");
    if (values.size > 200) throw new Ec2Error(400, "FilterLimitExceeded", "The maximum number of values is 200");
    filters.push({ name, values: [...values] });
  }
  return filters;
}

/** EC2's filter language: `*` any run of characters, `?` one character, and a backslash before what is meant literally. */
function wildcardMatcher(value: string): (text: string) => boolean {
  const source = value.replace(/\\(.)|[\s\S]/gu, (character, escaped: string | undefined) => {
    if (escaped === undefined && character === "*") return ".*";
    if (escaped === undefined && character === "?") return ".";
    return `\\u{${(escaped ?? character).codePointAt(0)?.toString(16)}}`;
  });
  const pattern = new RegExp(`^${source}$`, "su");
  return (text) => pattern.test(text);
}

function toXml(row: Connection): string {
  const traffic = ["ingressBytes", "egressBytes", "ingressPackets", "egressPackets"];
  return (
    `<item>${element("clientVpnEndpointId", row.endpointId)}${element("timestamp", timestamp(new Date()))}` +
    element("connectionId", row.connectionId) +
    (row.username === undefined ? "" : element("username", row.username)) +
    element("connectionEstablishedTime", timestamp(row.establishedAt)) +
    traffic.map((name) => element(name, "0")).join("") +
    `${element("clientIp", row.clientIp)}${element("commonName", row.commonName)}` +
    `<status>${element("code", row.status)}</status>` +
    `${element("connectionEndTime", row.endedAt === undefined ? "-" : timestamp(row.endedAt))}</item>`
  );
}

/** `2019-08-12 07:57:14`: UTC, as Client VPN writes it. */
function timestamp(date: Date): string {
  return date.toISOString().slice(0, 19).replace("T", " ");
}

function element(name: string, text: string): string {
  const entities: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\r": "&#13;" };
  return `<${name}>${text.replace(/[&<>"\r]/g, (character) => entities[character] ?? character)}</${name}>`;
}

function tokenOf(offset: number): string {
  return Buffer.from(`offset ${offset}`).toString("base64");
}

function offsetOf(token: string): number {
  const offset = /^offset (\d+)$/.exec(Buffer.from(token, "base64").toString())?.[1];
  if (offset === undefined) throw new Ec2Error(400, "InvalidNextToken", "The specified NextToken is not valid");
  return Number(offset);
}

function requestId(): string {
  return randomBytes(16).toString("hex");
}

function sha256(data: string | Buffer): string {
  return createHash("sha256").update(data).digest("hex");
}

function hmac(key: string | Buffer, data: string): Buffer {
  return createHmac("sha256", key).update(data).digest();
}
