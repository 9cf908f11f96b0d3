/**
 * AWS Client VPN session handler: one connection per user name, or as many as is set, and the newest win.
 *
 * `handler` is asked by Client VPN about each new connection. It finds the older connections of the same user name on the
 * same endpoint, terminates them and allows the new one; what it cannot find out or terminate, it answers with a denial.
 * `sweep` runs on a schedule, for connections of the same moment: all are allowed, as none can see the others yet.
 */

import { AsyncLocalStorage } from "node:async_hooks";
import { setMaxListeners } from "node:events";
import { inspect } from "node:util";
import {
  type ClientVpnConnection,
  EC2Client,
  type Filter,
  paginateDescribeClientVpnConnections,
  TerminateClientVpnConnectionsCommand,
} from "@aws-sdk/client-ec2";
import type { Context, Handler } from "aws-lambda";

/** What Client VPN sends, schema v3 (administrator guide, "Connection authorization"), as far as it is looked at. */
export interface ClientConnectRequest {
  "schema-version": "v3";
  /** The connection that is being authorized. */
  "connection-id": string;
  "endpoint-id": string;
  /** Active Directory user name or SAML NameID; empty with mutual (certificate-only) authentication. */
  username: string;
}

/** What Client VPN accepts as an answer, schema v3 (same source): exactly these four fields. */
export interface ClientConnectResponse {
  allow: boolean;
  /** Shown to the user when denied, at most 255 characters; empty when allowed. */
  "error-msg-on-denied-connection": string;
  "posture-compliance-statuses": string[];
  "schema-version": "v3";
}

/** What {@link sweep} found and did. */
export interface SweepResult {
  "endpoint-id": string;
  /** How many connections were active when it looked. */
  active: number;
  /** The ids of those that it ended. */
  terminated: string[];
}

/** What a denied user reads. EC2's own words stay in the log: they name roles and accounts. */
const USER_MESSAGES = {
  wrongSetting: "The VPN's check of your connection is not set up correctly. Please contact your VPN administrator.",
  invalidRequest: "The VPN could not read this connection request. Please contact your VPN administrator.",
  notChecked:
    "The VPN could not check whether you are connected from elsewhere. Please try again in a minute. " +
    "If this happens again, contact your VPN administrator.",
  notTerminated:
    "An older VPN connection of yours could not be ended. Disconnect your other devices and try again in a minute. " +
    "If this happens again, contact your VPN administrator.",
};

/** What is wrong with the settings. While something is, everybody is denied, so that the first test shows it. */
const wrongSettings: string[] = [];
const MAX_CONNECTIONS_PER_USER = Number(setting("MAX_CONNECTIONS_PER_USER", "1", /^[1-9]\d*$/, "an integer from 1"));
const ON_FAILURE = setting("ON_FAILURE", "deny", /^(deny|allow)$/, "deny or allow");
const IGNORE_USERNAME_CASE = setting("IGNORE_USERNAME_CASE", "false", /^(true|false)$/, "true or false") === "true";
const DRY_RUN = setting("DRY_RUN", "false", /^(true|false)$/, "true or false") === "true";

const CLIENT_VPN_WAITS_MS = 30_000; // for an answer, whatever the function's own time-out is (administrator guide)
const RESERVE_MS = 1_000; // between the answer and the end of the time
const SHORTEST_CALL_MS = 100; // with less time left, EC2 is not asked: it would hardly answer in time
const ATTEMPT_TIMEOUT_MS = 5_000; // or half of the time left: one dead socket leaves time for another try
const FIRST_RETRY_WAIT_MS = 250; // at most, which is enough after a lost connection; doubled each time, for a storm lasts
const LONGEST_RETRY_WAIT_MS = 4_000; // in a storm, longer keeps users waiting, shorter has EC2 refuse more (npm run bench)
const PAGE_SIZE = 1_000; // the largest that DescribeClientVpnConnections gives (EC2 API reference)
const TERMINATIONS_AT_ONCE = 10; // the user waits for all of them, but EC2 throttles beyond 50 at once
const LOGGED_ERRORS = 10; // at most, as CloudWatch cuts long log entries
const LOGGED_TEXT_LENGTH = 4_000; // characters of each text, for the same reason

type LambdaContext = Partial<Context> | undefined;

/** Tells what the SDK calls back, without saying on whose behalf, the deadline of its caller. */
const deadlineOfCaller = new AsyncLocalStorage<number>();

const retryToken = (retries: number, waitMs: number) => ({ getRetryCount: () => retries, getRetryDelay: () => waitMs });

/**
 * Region, credentials and AWS_ENDPOINT_URL_EC2 come from the environment. The retry strategy is our own because the SDK's
 * give up after three attempts, and draw on a quota that one bad minute of EC2 leaves empty for the container's next users.
 * Here a login waits, so it is worth trying as long as there is time; what to retry is still the SDK's judgement.
 */
const client = new EC2Client({
  retryStrategy: {
    acquireInitialRetryToken: async () => retryToken(0, 0),
    async refreshRetryTokenForRetry(token, { errorType }) {
      const retries = token.getRetryCount();
      const left = timeLeft() - SHORTEST_CALL_MS;
      // CLIENT_ERROR is the SDK's word for what will not get better. Whatever is thrown here, it throws EC2's error.
      if (errorType === "CLIENT_ERROR" || left < 0) throw new Error("no retry");
      const longest = Math.min(FIRST_RETRY_WAIT_MS * 2 ** retries, LONGEST_RETRY_WAIT_MS, left / 2);
      // Half of it by chance: users who were refused in the same moment must not come back in the same moment.
      return retryToken(retries + 1, longest * (0.5 + Math.random() / 2));
    },
    recordSuccess() {},
  },
});

// The SDK's own request time-out ends where the answer begins, but a body may stop or drip. TimeoutError is the name by
// which the SDK knows to try again; this step is inside of its retries.
client.middlewareStack.add(
  (next) => (args) => within(Math.min(ATTEMPT_TIMEOUT_MS, timeLeft() / 2), "TimeoutError", next(args)),
  { step: "finalizeRequest", priority: "low" },
);

/**
 * Decides about one new VPN connection, and ends the user's older ones.
 *
 * @param event the request; whatever is not a valid {@link ClientConnectRequest} is denied
 * @param context tells the remaining time in ms; without it, 30,000 ms are assumed
 * @returns the answer, at least 1,000 ms before that time is over. Never throws.
 */
export const handler = (async (event: unknown, context?: Partial<Context>): Promise<ClientConnectResponse> => {
  const startedAt = performance.now();
  const { reason, denial, ...done } = await decide(event, context);
  const allow = denial === "";
  const text = (field: string) => (isObject(event) && typeof event[field] === "string" ? cut(event[field]) : "");
  log(allow && done.errors.length === 0, startedAt, {
    decision: allow ? "allow" : "deny",
    reason: cut(reason),
    username: text("username"),
    endpointId: text("endpoint-id"),
    connectionId: text("connection-id"),
    ...done,
  });
  return {
    allow,
    "error-msg-on-denied-connection": denial,
    "posture-compliance-statuses": [],
    "schema-version": "v3",
  };
}) satisfies Handler<unknown, ClientConnectResponse>;

/** Returns a reason for the administrator, a denial for the user, empty to allow, and what else the log is to tell. */
async function decide(event: unknown, context: LambdaContext) {
  const nothing = { terminated: [], notTerminated: [], errors: [] };
  const wrong = wrongSettings.join("; ");
  if (wrong !== "") return { reason: wrong, denial: USER_MESSAGES.wrongSetting, ...nothing };
  const request = validate(event);
  if (typeof request === "string") return { reason: request, denial: USER_MESSAGES.invalidRequest, ...nothing };
  // Two empty user names are not the same user: taking them for one would end everybody's connection.
  if (request.username === "") return { reason: "no user name to compare", denial: "", ...nothing };

  const tooOld = (connections: ClientVpnConnection[], areAll: boolean) => {
    const older = areAll ? connections.filter((connection) => isOlder(connection, request)) : [];
    return newestFirst(older).slice(MAX_CONNECTIONS_PER_USER - 1);
  };
  const filters = filtersFor(request.username);
  const { excess, done } = await endExcess(request["endpoint-id"], filters, tooOld, context, CLIENT_VPN_WAITS_MS);
  let [reason, denial] = [excess.length > 0 ? "older connections terminated" : "no older connections", ""];
  if (done.notTerminated.length > 0) {
    [reason, denial] = ["older connections could not be terminated", USER_MESSAGES.notTerminated];
  } else if (done.errors.length > 0) {
    [reason, denial] = ["older connections could not be looked up", USER_MESSAGES.notChecked];
  }
  if (ON_FAILURE === "allow") denial = "";
  if (!DRY_RUN) return { reason, denial, ...done };
  const dryRun = { decision: denial === "" ? "allow" : "deny", terminated: excess };
  return { reason: `dry run: ${reason}`, denial: "", ...done, dryRun };
}

/** Returns the request with an absent or null user name made empty, or a sentence that says which field is wrong. */
function validate(event: unknown): ClientConnectRequest | string {
  if (!isObject(event)) return `invalid request: expected a JSON object, got ${inspect(event)}`;
  const { "schema-version": version, "connection-id": connectionId, "endpoint-id": endpointId } = event;
  const username = event.username ?? "";
  const wrong = (field: string, expected: string) =>
    `invalid request: ${field}: expected ${expected}, got ${inspect(event[field])}`;
  if (version !== "v3") return wrong("schema-version", "'v3'");
  if (typeof connectionId !== "string" || connectionId === "") return wrong("connection-id", "a non-empty string");
  if (typeof endpointId !== "string" || endpointId === "") return wrong("endpoint-id", "a non-empty string");
  if (typeof username !== "string") return wrong("username", "a string");
  return { "schema-version": version, "connection-id": connectionId, "endpoint-id": endpointId, username };
}

/** Returns EC2's filters for a user's connections; none where letter case does not count, because for EC2 it does. */
function filtersFor(username: string): Filter[] {
  if (IGNORE_USERNAME_CASE) return [];
  // EC2's filters read * and ? as wildcards and \ as their escape. Whether this API does so is not documented, so the
  // filter gets both readings of the name, and isOlder() keeps only the user's own rows.
  const escaped = username.replace(/[*?\\]/g, "\\$&");
  return [{ Name: "username", Values: [...new Set([username, escaped])] }];
}

/** User names for which this gives the same are one user's. */
const comparable = (username: string) => (IGNORE_USERNAME_CASE ? username.toLowerCase() : username);

function isOlder({ ConnectionId, Username }: ClientVpnConnection, request: ClientConnectRequest): boolean {
  if (ConnectionId === request["connection-id"]) return false;
  if (Username) return comparable(Username) === comparable(request.username);
  // EC2 documents the user name of a row for Active Directory only. Without it the filter's word stands, unless others
  // may have passed the filter too: then neither allowing nor terminating would be right.
  if (!IGNORE_USERNAME_CASE && !/[*?]/.test(request.username)) return true;
  throw errorNamed("UnexpectedAnswer", `EC2 gave no user name for ${ConnectionId}, which may be anybody's`);
}

/**
 * Ends what is too old among all connections of an endpoint: of each user name, the newest stay.
 *
 * @param event `{ "endpoint-id": "cvpn-endpoint-…" }`
 * @param context tells the remaining time in ms; without it, 30,000 ms are assumed
 * @returns what was found and ended, at least 1,000 ms before that time is over
 * @throws when the input or a setting is wrong, before any call; when something could not be read or ended, after the rest
 */
export const sweep = (async (event: unknown, context?: Partial<Context>): Promise<SweepResult> => {
  const startedAt = performance.now();
  const endpointId = isObject(event) ? event["endpoint-id"] : undefined;
  if (wrongSettings.length > 0) throw new Error(wrongSettings.join("; "));
  if (typeof endpointId !== "string" || endpointId === "") {
    throw new Error(`invalid input: endpoint-id: expected a non-empty string, got ${inspect(endpointId)}`);
  }
  const counts = new Map<string, number>();
  // What is too old among the connections that could be read is so among all of them.
  const tooOld = (connections: ClientVpnConnection[]) =>
    newestFirst(connections).filter(({ Username }) => {
      if (!Username) return false;
      const count = (counts.get(comparable(Username)) ?? 0) + 1;
      counts.set(comparable(Username), count);
      return count > MAX_CONNECTIONS_PER_USER;
    });
  const { active, excess, done } = await endExcess(endpointId, [], tooOld, context, Number.POSITIVE_INFINITY);
  const [error] = done.errors;
  const dryRun = DRY_RUN && { dryRun: { terminated: excess } };
  log(error === undefined, startedAt, { "endpoint-id": endpointId, active, ...done, ...dryRun });
  if (error !== undefined) throw errorNamed("IncompleteSweep", `${error.code}: ${error.message}; see the log entry`);
  return { "endpoint-id": endpointId, active, terminated: done.terminated };
}) satisfies Handler<unknown, SweepResult>;

/** Picks what to end from the connections that EC2 listed; `areAll` is false where not all could be read. */
type Choice = (connections: ClientVpnConnection[], areAll: boolean) => ClientVpnConnection[];

/** Reads an endpoint's connections and ends the chosen ones, as far as there is time. Returns what became of them. */
async function endExcess(endpointId: string, filters: Filter[], choice: Choice, context: LambdaContext, maxMs: number) {
  const connections = new Map<string, ClientVpnConnection>();
  let excess: string[] = [];
  const terminated = new Set<string>();
  const errors: { connectionId?: string; code: string; message: string }[] = [];
  const work = async (signal: AbortSignal) => {
    try {
      for await (const connection of activeConnections(endpointId, filters, signal)) {
        // Without its id, it may be one of the others: it must not count as one more.
        if (connection.ConnectionId) connections.set(connection.ConnectionId, connection);
        else errors.push({ code: "UnexpectedAnswer", message: "EC2 gave a connection without its id" });
      }
    } catch (error) {
      errors.push(toLoggedError(error));
    }
    excess = choice([...connections.values()], errors.length === 0).map(({ ConnectionId = "" }) => ConnectionId);
    const queue = (DRY_RUN ? [] : excess).values();
    const terminateFromQueue = async () => {
      for (const connectionId of queue) {
        try {
          await terminate(endpointId, connectionId, signal);
          terminated.add(connectionId);
        } catch (error) {
          // One that cannot be ended does not keep the others alive.
          errors.push({ connectionId, ...toLoggedError(error) });
        }
      }
    };
    await Promise.all(Array.from({ length: TERMINATIONS_AT_ONCE }, terminateFromQueue));
  };
  try {
    await inTime(context, maxMs, work);
  } catch (error) {
    errors.push(toLoggedError(error));
  }
  const notTerminated = DRY_RUN ? [] : excess.filter((id) => !terminated.has(id));
  const done = { terminated: [...terminated], notTerminated, errors: errors.slice(0, LOGGED_ERRORS) };
  return { active: connections.size, excess, done };
}

/** Yields an endpoint's connections that are, or may still be, active; throws where EC2's answers leave that open. */
async function* activeConnections(endpointId: string, Filters: Filter[], abortSignal: AbortSignal) {
  const tokens = new Set<string>();
  const input = { ClientVpnEndpointId: endpointId, ...(Filters.length > 0 && { Filters }) };
  const pages = paginateDescribeClientVpnConnections({ client, pageSize: PAGE_SIZE }, input, { abortSignal });
  for await (const page of pages) {
    for (const connection of page.Connections ?? []) {
      checkEndpoint(connection.ClientVpnEndpointId, endpointId);
      if (!hasEnded(connection.Status?.Code)) yield connection;
    }
    if (!page.NextToken) return;
    if (tokens.has(page.NextToken)) throw errorNamed("UnexpectedAnswer", "EC2 gave the same page again");
    tokens.add(page.NextToken);
  }
}

/** EC2 lists a connection for an hour after its end. Whatever else it may say of one, that may still be connected. */
function hasEnded(statusCode: string | undefined): boolean {
  return statusCode === "terminating" || statusCode === "terminated";
}

function checkEndpoint(answeredFor: string | undefined, endpointId: string): void {
  if (!answeredFor || answeredFor === endpointId) return;
  throw errorNamed("UnexpectedAnswer", `EC2 answered for another endpoint, ${answeredFor}`);
}

/** EC2 gives the time in seconds, as text that sorts. Within a second the id decides, so that it does the same each time. */
function newestFirst(connections: ClientVpnConnection[]): ClientVpnConnection[] {
  const order = (a = "", b = "") => Number(a > b) - Number(a < b);
  const byTime = (a: ClientVpnConnection, b: ClientVpnConnection) =>
    order(b.ConnectionEstablishedTime, a.ConnectionEstablishedTime) || order(a.ConnectionId, b.ConnectionId);
  return connections.toSorted(byTime);
}

/** Returns when the connection has been ended or was gone already; throws when it could not be ended. */
async function terminate(endpointId: string, connectionId: string, abortSignal: AbortSignal): Promise<void> {
  const input = { ClientVpnEndpointId: endpointId, ConnectionId: connectionId };
  try {
    const answer = await client.send(new TerminateClientVpnConnectionsCommand(input), { abortSignal });
    checkEndpoint(answer.ClientVpnEndpointId, endpointId);
    for (const { CurrentStatus: status } of answer.ConnectionStatuses ?? []) {
      if (status?.Code && !hasEnded(status.Code)) throw errorNamed(status.Code, status.Message);
    }
  } catch (error) {
    if (!(error instanceof Error && error.name === "InvalidClientVpnConnection.IdNotFound")) throw error;
  }
}

/**
 * Runs work that calls EC2, and rejects at the deadline whatever becomes of it: the SDK that the Lambda runtime carries
 * may be too old to wake from a retry's wait when the signal aborts.
 */
async function inTime(context: LambdaContext, maxMs: number, work: (signal: AbortSignal) => Promise<void>) {
  const remaining =
    typeof context?.getRemainingTimeInMillis === "function" ? context.getRemainingTimeInMillis() : CLIENT_VPN_WAITS_MS;
  const left = Math.min(remaining, maxMs) - RESERVE_MS;
  if (left < SHORTEST_CALL_MS) throw errorNamed("DeadlineExceeded", "no time left to call EC2");
  const controller = new AbortController();
  // Each attempt under way listens to it, and Node would warn of more than ten.
  setMaxListeners(0, controller.signal);
  const run = () => work(controller.signal);
  try {
    await within(left, "DeadlineExceeded", deadlineOfCaller.run(performance.now() + left, run));
  } finally {
    // Attempts that timed out may still hold their sockets.
    controller.abort();
  }
}

/** In ms, to the deadline of the work that calls this. */
function timeLeft(): number {
  return (deadlineOfCaller.getStore() ?? 0) - performance.now();
}

/** Settles with the promise, or rejects after that time with an error of that name. */
async function within<T>(ms: number, errorName: string, promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const timeIsOver = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(errorNamed(errorName, "no answer from EC2 in time")), Math.max(1, ms));
  });
  return await Promise.race([promise, timeIsOver]).finally(() => clearTimeout(timer));
}

/**
 * Lambda's runtime makes a field tree of an object in its JSON log format; in its text format, CloudWatch Logs Insights
 * finds the fields in one line of JSON. Either way line breaks are escaped, so that no user name can forge an entry.
 */
function log(isFine: boolean, startedAt: number, fields: object): void {
  const entry = { ...fields, durationMs: Math.round(performance.now() - startedAt) };
  const write = isFine ? console.info : console.error;
  try {
    write(process.env.AWS_LAMBDA_LOG_FORMAT === "JSON" ? entry : JSON.stringify(entry));
  } catch {
    // Older connections may have been ended by now: a log line that cannot be written must not cost the new one too.
  }
}

/** Returns what an environment variable is set to, or its default; notes where that is none of what is allowed. */
function setting(name: string, byDefault: string, allowed: RegExp, expected: string): string {
  const value = process.env[name] || byDefault;
  if (!allowed.test(value)) wrongSettings.push(`wrong setting: ${name}: expected ${expected}, got ${inspect(value)}`);
  return value;
}

/** The name is what the log shows as the error's code. */
function errorNamed(name: string, message?: string): Error {
  return Object.assign(new Error(message), { name });
}

/** Returns EC2's error code, the system's (`ECONNRESET`) or the error's name, with the message. */
function toLoggedError(error: unknown): { code: string; message: string } {
  if (!(error instanceof Error)) return { code: "Unknown", message: cut(String(error)) };
  const code = "code" in error && typeof error.code === "string" ? error.code : error.name;
  return { code, message: cut(error.message) };
}

function cut(text: string): string {
  return text.length > LOGGED_TEXT_LENGTH ? `${text.slice(0, LOGGED_TEXT_LENGTH)}…` : text;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
