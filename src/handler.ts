/**
 * AWS Client VPN client connect handler: one session per user name, the newest wins.
 *
 * Client VPN asks this function about each new connection before it lets it in. The function finds the older
 * connections of the same user name on the same endpoint, terminates them and allows the new one. What it cannot find
 * out or cannot terminate, it answers with a denial.
 */

import { AsyncLocalStorage } from "node:async_hooks";
import { Readable } from "node:stream";
import {
  type ClientVpnConnection,
  EC2Client,
  paginateDescribeClientVpnConnections,
  TerminateClientVpnConnectionsCommand,
} from "@aws-sdk/client-ec2";
import type { Context, Handler } from "aws-lambda";

/**
 * What Client VPN sends, schema v3. The first four fields decide; the others are `unknown` because they are never
 * looked at, so that an odd value in one of them cannot lock a user out.
 *
 * Source: AWS Client VPN administrator guide, "Connection authorization".
 */
export interface ClientConnectRequest {
  "schema-version": "v3";
  /** The connection that is being authorized. */
  "connection-id": string;
  "endpoint-id": string;
  /** Active Directory user name or SAML NameID; empty with mutual (certificate-only) authentication. */
  username: string;
  "common-name"?: unknown;
  platform?: unknown;
  "platform-version"?: unknown;
  "public-ip"?: unknown;
  "client-openvpn-version"?: unknown;
  "aws-client-version"?: unknown;
  groups?: unknown;
}

/**
 * What Client VPN accepts as an answer, schema v3: exactly these four fields.
 *
 * Source: AWS Client VPN administrator guide, "Connection authorization".
 */
export interface ClientConnectResponse {
  allow: boolean;
  /** Shown to the user when denied, at most 255 characters; empty when allowed. */
  "error-msg-on-denied-connection": string;
  "posture-compliance-statuses": string[];
  "schema-version": "v3";
}

/** What a denied user reads. EC2's own words stay in the log: they name roles and accounts. */
const USER_MESSAGES = {
  invalidRequest: "The VPN could not read this connection request. Please contact your VPN administrator.",
  notChecked:
    "The VPN could not check whether you are connected from elsewhere. Please try again in a minute. " +
    "If this happens again, contact your VPN administrator.",
  notTerminated:
    "An older VPN connection of yours could not be ended. Disconnect your other devices and try again in a minute. " +
    "If this happens again, contact your VPN administrator.",
};

/** Client VPN waits this long for an answer, whatever the function's own time-out is (administrator guide). */
const CLIENT_VPN_WAITS_MS = 30_000;

/** The answer leaves this long before the time is over. */
const RESERVE_MS = 1_000;

/** A request whose answer has not begun after this time, or not ended after it once more, is tried again. */
const REQUEST_TIMEOUT_MS = 5_000;

/** With less time left than this, no call is begun: EC2's answer would hardly come in time. */
const SHORTEST_CALL_MS = 100;

/** Leaves room for a second try in the 2 s that remain of Lambda's default time-out. */
const CONNECTION_TIMEOUT_MS = 1_500;

/**
 * The longest wait before a first retry: enough after a lost connection, and for a busy moment of the account's other
 * callers. It doubles with each further retry, because a storm of logins takes many seconds.
 */
const FIRST_RETRY_WAIT_MS = 250;

/**
 * And the longest wait of all. In a storm the last users to get in wait up to this long although EC2 would serve them
 * already; the shorter it is, the more calls EC2 only refuses (`npm run bench -- storm` measures both).
 */
const LONGEST_RETRY_WAIT_MS = 4_000;

/** No wait is longer than this part of the time left, so that there are several tries in a short time and at its end. */
const RETRY_WAIT_OF_TIME_LEFT = 1 / 2;

/** The largest page that DescribeClientVpnConnections gives (EC2 API reference). */
const PAGE_SIZE = 1_000;

/** The user waits for all of them, but EC2 throttles mutating calls beyond 50 at once per account and Region. */
const TERMINATIONS_AT_ONCE = 10;

/** CloudWatch cuts long log events, so a text (in characters) and the number of errors are cut here. */
const LOGGED_TEXT_LENGTH = 4_000;
const LOGGED_ERRORS = 10;

/** What the SDK is told about one call. */
interface CallOptions {
  abortSignal: AbortSignal;
  /** For each attempt, in ms. */
  requestTimeout: number;
}

/** Tells the retry strategy, which the SDK calls without saying on whose behalf, the deadline of its caller. */
const deadlineOfCaller = new AsyncLocalStorage<number>();

/**
 * Region, credentials and AWS_ENDPOINT_URL_EC2 come from the environment.
 *
 * The retry strategy is our own because the SDK's give up after three attempts and draw on a quota that one bad minute
 * of EC2 leaves empty for the container's next users. Here a login waits for the call, so it is worth trying as long as
 * there is time; what to retry is still the SDK's judgement.
 */
const client = new EC2Client({
  requestHandler: {
    connectionTimeout: CONNECTION_TIMEOUT_MS,
    requestTimeout: REQUEST_TIMEOUT_MS,
    throwOnRequestTimeout: true,
  },
  retryStrategy: {
    async acquireInitialRetryToken() {
      return { getRetryCount: () => 0, getRetryDelay: () => 0 };
    },
    async refreshRetryTokenForRetry(token, { errorType }) {
      const retries = token.getRetryCount();
      const deadline = deadlineOfCaller.getStore() ?? 0;
      const left = deadline - SHORTEST_CALL_MS - performance.now();
      // CLIENT_ERROR is the SDK's word for what will not get better. Whatever is thrown here, it throws EC2's error.
      if (errorType === "CLIENT_ERROR" || left < 0) throw new Error("no retry");
      const grown = Math.min(FIRST_RETRY_WAIT_MS * 2 ** retries, LONGEST_RETRY_WAIT_MS, left * RETRY_WAIT_OF_TIME_LEFT);
      // Half of it by chance: users who were refused in the same moment must not come back in the same moment.
      const wait = grown * (0.5 + Math.random() / 2);
      return { getRetryCount: () => retries + 1, getRetryDelay: () => wait };
    },
    recordSuccess() {},
  },
});

// The SDK's request time-out is over when the answer begins: this one is for a body that stops or drips. TimeoutError is
// the name by which the SDK knows to try again.
client.middlewareStack.add(
  (next) => async (args) => {
    const result = await next(args);
    const body = isObject(result.response) ? result.response.body : undefined;
    if (body instanceof Readable) {
      const stop = () => body.destroy(errorNamed("TimeoutError", "EC2's answer began, but did not end in time"));
      const timer = setTimeout(stop, requestTimeout(deadlineOfCaller.getStore() ?? 0));
      body.once("close", () => clearTimeout(timer));
    }
    return result;
  },
  { step: "deserialize", priority: "low" },
);

/** Returns half of a short time, so that one dead socket leaves a second try, but at least 1 (ms): 0 would mean none. */
function requestTimeout(deadline: number): number {
  return Math.max(1, Math.min(REQUEST_TIMEOUT_MS, (deadline - performance.now()) / 2));
}

/** What the answer and the log entry are made of. */
interface Decision extends Terminations {
  allow: boolean;
  /** For the administrator. */
  reason: string;
  /** For the user; empty when allowed. */
  userMessage: string;
}

interface Terminations {
  /** The ids of the connections that were ended. */
  terminated: string[];
  /** The ids of those that could not be ended, or of which EC2 did not say in time that they were. */
  notTerminated: string[];
  errors: LoggedError[];
}

interface LoggedError {
  /** The connection that could not be ended; absent where the error concerns the look-up. */
  connectionId?: string;
  /** EC2's error code, the system's (`ECONNRESET`), or the name of the SDK's or our own error. */
  code: string;
  message: string;
}

const NOTHING_TERMINATED: Terminations = { terminated: [], notTerminated: [], errors: [] };

/**
 * Decides about one new VPN connection, and ends the user's older ones.
 *
 * @param event the request; whatever is not a valid {@link ClientConnectRequest} is denied
 * @param context tells the remaining time in ms; without it, 30,000 ms are assumed
 * @returns the answer, at least 1,000 ms before that time is over. Never throws.
 */
export const handler = (async (event: unknown, context?: Partial<Context>): Promise<ClientConnectResponse> => {
  const startedAt = performance.now();
  const decision = await decide(event, context);
  try {
    log(event, decision, performance.now() - startedAt);
  } catch {
    // Older connections may have been ended by now: a log line that cannot be written must not cost the new one too.
  }
  return {
    allow: decision.allow,
    "error-msg-on-denied-connection": decision.userMessage,
    "posture-compliance-statuses": [],
    "schema-version": "v3",
  };
}) satisfies Handler<unknown, ClientConnectResponse>;

async function decide(event: unknown, context: Partial<Context> | undefined): Promise<Decision> {
  const request = validate(event);
  if (typeof request === "string") {
    return { allow: false, reason: request, userMessage: USER_MESSAGES.invalidRequest, ...NOTHING_TERMINATED };
  }
  // Two empty user names are not the same user: taking them for one would end everybody's connection.
  if (request.username === "") {
    return { allow: true, reason: "no user name to compare", userMessage: "", ...NOTHING_TERMINATED };
  }
  try {
    const deadline = deadlineFrom(context);
    const older = await beforeDeadline(deadline, (options) => findOlderConnections(request, options));
    const terminations = await terminateAll(request, older, deadline);
    if (terminations.notTerminated.length > 0) {
      const reason = "older connections could not be terminated";
      return { allow: false, reason, userMessage: USER_MESSAGES.notTerminated, ...terminations };
    }
    const reason = older.length > 0 ? "older connections terminated" : "no older connections";
    return { allow: true, reason, userMessage: "", ...terminations };
  } catch (error) {
    const reason = "older connections could not be looked up";
    const errors = [toLoggedError(error)];
    return { allow: false, reason, userMessage: USER_MESSAGES.notChecked, ...NOTHING_TERMINATED, errors };
  }
}

/** Returns the request with an absent or null user name made empty, or a sentence that says which field is wrong. */
function validate(event: unknown): ClientConnectRequest | string {
  if (!isObject(event)) return `invalid request: expected a JSON object, got ${describe(event)}`;
  const { "schema-version": version, "connection-id": connectionId, "endpoint-id": endpointId } = event;
  const username = event.username ?? "";
  const wrong = (field: string, expected: string) =>
    `invalid request: ${field}: expected ${expected}, got ${describe(event[field])}`;
  if (version !== "v3") return wrong("schema-version", '"v3"');
  if (typeof connectionId !== "string" || connectionId === "") return wrong("connection-id", "a non-empty string");
  if (typeof endpointId !== "string" || endpointId === "") return wrong("endpoint-id", "a non-empty string");
  if (typeof username !== "string") return wrong("username", "a string");
  return { "schema-version": version, "connection-id": connectionId, "endpoint-id": endpointId, username };
}

/** Returns by when all calls to EC2 have to be over, on the clock of `performance.now()`, in ms. */
function deadlineFrom(context: Partial<Context> | undefined): number {
  const remaining =
    typeof context?.getRemainingTimeInMillis === "function" ? context.getRemainingTimeInMillis() : CLIENT_VPN_WAITS_MS;
  return performance.now() + Math.min(remaining, CLIENT_VPN_WAITS_MS) - RESERVE_MS;
}

/**
 * Settles with `call`, or rejects at the deadline whatever becomes of the call: the SDK that the Lambda runtime carries
 * may be too old to wake from a retry's wait when the signal aborts.
 */
async function beforeDeadline<T>(deadline: number, call: (options: CallOptions) => Promise<T>): Promise<T> {
  const left = deadline - performance.now();
  if (left < SHORTEST_CALL_MS) throw errorNamed("DeadlineExceeded", "no time left to call EC2");
  const controller = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const timeIsOver = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(errorNamed("DeadlineExceeded", "no answer from EC2 in time"));
      controller.abort();
    }, left);
  });
  const options = { abortSignal: controller.signal, requestTimeout: requestTimeout(deadline) };
  try {
    return await Promise.race([deadlineOfCaller.run(deadline, () => call(options)), timeIsOver]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Returns the ids of the user's other connections on the endpoint that are, or may still be, connected. Throws where EC2's
 * answer leaves that open.
 */
async function findOlderConnections(request: ClientConnectRequest, options: CallOptions): Promise<string[]> {
  const { username } = request;
  // EC2's filters read * and ? as wildcards and \ as their escape. Whether this API does so is not documented, so the
  // filter gets both readings of the name, and isOlder() keeps only the user's own rows.
  const escaped = username.replace(/[*?\\]/g, "\\$&");
  const pages = paginateDescribeClientVpnConnections(
    { client, pageSize: PAGE_SIZE },
    {
      ClientVpnEndpointId: request["endpoint-id"],
      Filters: [{ Name: "username", Values: [...new Set([username, escaped])] }],
    },
    options,
  );
  const older = new Set<string>();
  const tokens = new Set<string>();
  for await (const { Connections = [], NextToken } of pages) {
    for (const connection of Connections) {
      if (!isOlder(connection, request)) continue;
      if (connection.ConnectionId === undefined) throw new Error("EC2 gave a connection of this user without its id");
      older.add(connection.ConnectionId);
    }
    if (!NextToken) break;
    if (tokens.has(NextToken)) throw new Error("EC2 gave the same page again, so some pages cannot be read");
    tokens.add(NextToken);
  }
  return [...older];
}

function isOlder(connection: ClientVpnConnection, request: ClientConnectRequest): boolean {
  const { ClientVpnEndpointId, ConnectionId, Status, Username } = connection;
  checkEndpoint(ClientVpnEndpointId, request["endpoint-id"]);
  if (hasEnded(Status?.Code)) return false;
  if (ConnectionId === request["connection-id"]) return false;
  if (Username) return Username === request.username;
  // EC2 documents the user name of a row for Active Directory only. Without it the filter's word stands, unless the
  // filter may have matched other users too: then neither allowing nor terminating would be right.
  if (/[*?]/.test(request.username)) {
    throw new Error(
      `EC2 gave no user name for ${ConnectionId}, and the user name filter may have matched another user's`,
    );
  }
  return true;
}

/** EC2 lists a connection for an hour after its end. Whatever else it may say of one, that may still be connected. */
function hasEnded(statusCode: string | undefined): boolean {
  return statusCode === "terminating" || statusCode === "terminated";
}

function checkEndpoint(answeredFor: string | undefined, endpointId: string): void {
  if (answeredFor && answeredFor !== endpointId) throw new Error(`EC2 answered for another endpoint, ${answeredFor}`);
}

/** Terminates the connections independently of each other: one that cannot be ended does not keep the others alive. */
async function terminateAll(
  request: ClientConnectRequest,
  connectionIds: string[],
  deadline: number,
): Promise<Terminations> {
  const terminated: string[] = [];
  const notTerminated: string[] = [];
  const errors: LoggedError[] = [];
  const queue = connectionIds.values();
  const terminateFromQueue = async () => {
    for (const connectionId of queue) {
      try {
        await beforeDeadline(deadline, (options) => terminate(request["endpoint-id"], connectionId, options));
        terminated.push(connectionId);
      } catch (error) {
        notTerminated.push(connectionId);
        errors.push({ connectionId, ...toLoggedError(error) });
      }
    }
  };
  await Promise.all(Array.from({ length: TERMINATIONS_AT_ONCE }, terminateFromQueue));
  return { terminated, notTerminated, errors };
}

/** Returns when the connection has been ended or was gone already; throws when it could not be ended. */
async function terminate(endpointId: string, connectionId: string, options: CallOptions): Promise<void> {
  const command = new TerminateClientVpnConnectionsCommand({
    ClientVpnEndpointId: endpointId,
    ConnectionId: connectionId,
  });
  try {
    const { ClientVpnEndpointId, ConnectionStatuses = [] } = await client.send(command, options);
    checkEndpoint(ClientVpnEndpointId, endpointId);
    for (const { CurrentStatus } of ConnectionStatuses) {
      if (CurrentStatus?.Code && !hasEnded(CurrentStatus.Code)) {
        throw errorNamed(CurrentStatus.Code, CurrentStatus.Message);
      }
    }
  } catch (error) {
    const hasGone = error instanceof Error && error.name === "InvalidClientVpnConnection.IdNotFound";
    if (!hasGone) throw error;
  }
}

/**
 * Writes the one log entry of a decision. With Lambda's JSON log format the runtime makes the object a field tree; with
 * its text format, one line of JSON is what CloudWatch Logs Insights finds fields in. Either way JSON escapes line
 * breaks, so that no user name can forge an entry.
 */
function log(event: unknown, { allow, reason, terminated, notTerminated, errors }: Decision, durationMs: number): void {
  const text = (field: string) => (isObject(event) && typeof event[field] === "string" ? cut(event[field]) : "");
  const entry = {
    decision: allow ? "allow" : "deny",
    reason,
    username: text("username"),
    endpointId: text("endpoint-id"),
    connectionId: text("connection-id"),
    terminated,
    notTerminated,
    errors: errors.slice(0, LOGGED_ERRORS),
    durationMs: Math.round(durationMs),
  };
  const write = allow ? console.info : console.error;
  write(process.env.AWS_LAMBDA_LOG_FORMAT === "JSON" ? entry : JSON.stringify(entry));
}

/** The name is what the log shows as the error's code. */
function errorNamed(name: string, message?: string): Error {
  return Object.assign(new Error(message), { name });
}

function toLoggedError(error: unknown): LoggedError {
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

/** Names a value that was not expected, so that the log line is enough to see what came instead. */
function describe(value: unknown): string {
  if (value === undefined) return "nothing";
  if (value === null) return "null";
  if (Array.isArray(value)) return "an array";
  if (typeof value === "string") return JSON.stringify(cut(value));
  return typeof value === "object" ? "an object" : `a ${typeof value}`;
}
