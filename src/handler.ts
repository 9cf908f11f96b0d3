/**
 * AWS Client VPN session handler: one connection for each user, or as many as is set, and the newest win.
 *
 * `login` answers Client VPN about each new connection: it looks up the older ones of the same user on the same endpoint,
 * terminates them and allows the new one. What it cannot find out or terminate, it answers as ON_FAILURE says.
 * `sweep` runs on a schedule, for connections of the same moment: all are allowed, as none can see the others yet.
 */

import { createHash } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { inspect } from "node:util";
import {
  type ClientVpnConnection,
  DescribeClientVpnConnectionsCommand,
  type DescribeClientVpnConnectionsResult,
  EC2Client,
  TerminateClientVpnConnectionsCommand,
} from "@aws-sdk/client-ec2";
import type { Context } from "aws-lambda";

/** What Client VPN sends, schema v3 (administrator guide, "Connection authorization"), as far as it is looked at. */
export interface ClientConnectRequest {
  "schema-version": "v3";
  /** The connection that is being authorized. */
  "connection-id": string;
  "endpoint-id": string;
  /** Active Directory user name or SAML NameID; empty with mutual (certificate-only) authentication. */
  username?: string | null;
  /** Common name of the client certificate, if there is one. */
  "common-name"?: string | null;
  /** For the log alone, like `platform`. */
  "public-ip"?: unknown;
  platform?: unknown;
}

/** What Client VPN accepts as an answer, schema v3 (same source): exactly these four fields. */
export interface ClientConnectResponse {
  allow: boolean;
  /** Shown to the user when denied, at most 255 characters; empty when allowed. */
  "error-msg-on-denied-connection": string;
  /** What EC2's list has of the connection from then on: with KEEP_NAMES, the user's name. */
  "posture-compliance-statuses": string[];
  "schema-version": "v3";
}

/** What asks for a sweep of the endpoint with this id. Client VPN's request has no such field. */
export type SweepRequest = { sweep: string };

/** What a sweep found and did. */
export interface SweepResult {
  "endpoint-id": string;
  /** How many connections were active when it looked, those of exempt users left out. */
  active: number;
  /** How many of those had no name to compare, so that it cannot tell whose they are. */
  unnamed: number;
  /** The ids of those that it ended. */
  terminated: string[];
}

/** What a denied user reads. EC2's own words stay in the log: they name roles and accounts. */
const WRONG_SETTING = "The VPN's connection check is not set up correctly. Please contact your VPN administrator.";
const INVALID_REQUEST = "The VPN could not read this connection request. Please contact your VPN administrator.";
const NOT_LOOKED_UP =
  "The VPN could not check whether you are connected from elsewhere. Please try again in a minute. " +
  "If this happens again, contact your VPN administrator.";
const NOT_TERMINATED =
  "An older VPN connection of yours could not be ended. Disconnect your other devices and try again in a minute. " +
  "If this happens again, contact your VPN administrator.";
const TOO_OFTEN =
  "Your account connects too often. Disconnect devices that you do not use, and try again in a minute. " +
  "If you have no others, somebody else may have your password: call your VPN administrator.";

/** The environment variables. While one has a value that it cannot have, everybody is denied: the first test shows it. */
const SETTINGS = {
  MAX_CONNECTIONS_PER_USER: { byDefault: "1", pattern: /^[1-9]\d*$/, expected: "an integer from 1" },
  ON_FAILURE: { byDefault: "deny", pattern: /^(deny|allow)$/, expected: "deny or allow" },
  IDENTITY: { byDefault: "username", pattern: /^(username|common-name)$/, expected: "username or common-name" },
  IGNORE_USERNAME_CASE: { byDefault: "false", pattern: /^(true|false)$/, expected: "true or false" },
  KEEP_NAMES: { byDefault: "false", pattern: /^(true|false)$/, expected: "true or false" },
  CHECK_LOGINS: { byDefault: "true", pattern: /^(true|false)$/, expected: "true or false" },
  EXEMPT_USERS: { byDefault: "", pattern: /^( *[^, ][^,]*(, *[^, ][^,]*)*)?$/, expected: "names between commas" },
  DRY_RUN: { byDefault: "false", pattern: /^(true|false)$/, expected: "true or false" },
};
const setting = (name: keyof typeof SETTINGS) => process.env[name] || SETTINGS[name].byDefault;
const MAX_CONNECTIONS_PER_USER = Number(setting("MAX_CONNECTIONS_PER_USER"));
const ON_FAILURE = setting("ON_FAILURE");
const IDENTITY = setting("IDENTITY");
const IGNORE_USERNAME_CASE = setting("IGNORE_USERNAME_CASE") === "true";
const KEEP_NAMES = setting("KEEP_NAMES") === "true";
const CHECK_LOGINS = setting("CHECK_LOGINS") === "true";
// EC2 documents the user name of a connection for Active Directory alone, but lists the statuses of any connection. So the
// name is kept in one. AWS documents 255 characters, and not which: "%" and its number stand for each byte that is no letter,
// digit, ".", "_" or "-". A name that does not fit is kept as its hash, as nobody would end a connection without a status; so
// is one that looks like a hash. The prefix has the kind of name, as a name of the other kind may be another user's.
const KEPT = { name: `vpn-session-handler.${IDENTITY}.`, hash: `vpn-session-handler.${IDENTITY}-sha256.` };
const LONGEST_STATUS = 255;
const exemptNames = setting("EXEMPT_USERS").split(",");
const EXEMPT_USERS = new Set(exemptNames.map((name) => comparable(name.trim())));
EXEMPT_USERS.delete(""); // no name is nobody's
const DRY_RUN = setting("DRY_RUN") === "true";
const wrongSettings = Object.entries(SETTINGS)
  .filter(([name, { byDefault, pattern }]) => !pattern.test(process.env[name] || byDefault))
  .map(([name, { expected }]) => `wrong setting: ${name}: expected ${expected}, got ${inspect(process.env[name])}`);

const CLIENT_VPN_WAITS_MS = 30_000; // for an answer, whatever the function's own time-out is (administrator guide)
const RESERVE_MS = 1_000; // between the answer and the end of the time
const LONGEST_CHECK_MS = CLIENT_VPN_WAITS_MS - RESERVE_MS; // for a sweep too: an older list ends nobody
const DRY_RUN_CHECK_MS = 5_000; // of a login, the time of one attempt: it is let in anyway, so nobody is to wait for more
const SHORTEST_CALL_MS = 100; // with less time left, EC2 is not asked: it would hardly answer in time
const ATTEMPT_TIMEOUT_MS = 5_000; // or half of the time left: one dead socket leaves time for another try
const FIRST_RETRY_WAIT_MS = 250; // at most: enough after a lost connection; then doubled each time
const FIRST_THROTTLED_WAIT_MS = 3_000; // instead: EC2 throttles where many ask, and serves no more of them if all hurry
const LONGEST_RETRY_WAIT_MS = 8_000; // in a storm, longer keeps users waiting, shorter has EC2 refuse more (npm run bench)
const PAGE_SIZE = 1_000; // the largest that DescribeClientVpnConnections gives (EC2 API reference)
const TERMINATIONS_AT_ONCE = 10; // the user waits for all of them, but EC2 throttles beyond 50 at once
const LOGGED = { errors: 10, ids: 100, characters: 4_000 }; // at most, as CloudWatch cuts long log entries
const LOGGED_USERS = 100; // of a dry run's sweep, at most: each minute names the same ones again
const LOGGED_USER_CHARACTERS = 255; // as AWS cuts user names

// A user's devices that push each other out would take EC2 from others (npm run bench -- storm). With two more in this
// number, they still do. With two fewer, a user would be refused who changes between two devices every 2 s, or whose network
// drops as often.
const TOO_MANY_NEW = MAX_CONNECTIONS_PER_USER + 6;
// How long connections are new. Ended ones only briefly: they may be a thief's, who keeps the owner out as long. Live ones
// until a sweep has ended those of one moment: before, each login would ask for the end of all of them.
const NEW_MS = { live: 60_000, ended: 10_000 };
// Who has just been refused for that is refused again without a look-up: somebody who hammers would take EC2 from others.
// Shorter than both of NEW_MS, so that the rule decides and not its memory: it keeps an owner out for so much longer.
const REMEMBERED = { ms: 3_000, users: 100 };
const refusedAt = new Map<string, number>();

/** EC2 has a filter for user names as it lists them, with their case. Where that does not serve, all connections are read. */
const CAN_FILTER = IDENTITY === "username" && !IGNORE_USERNAME_CASE && !KEEP_NAMES;

// Region, credentials and AWS_ENDPOINT_URL_EC2 come from the environment; ask() does the retries, whatever AWS_RETRY_MODE
// is. No socket is kept: Lambda freezes the process between two logins, and a socket may die meanwhile without a word.
const requestHandler = { httpAgent: { keepAlive: false }, httpsAgent: { keepAlive: false } };
const client = new EC2Client({ maxAttempts: 1, retryMode: "standard", requestHandler });

/** What counts of a request. `user` and `device` are names as they are compared; what is not said is empty. */
interface Login {
  version: string;
  endpointId: string;
  connectionId: string;
  user: string;
  device: string;
}

/** What counts of a row in EC2's list. `name` is the user's as EC2 writes it, for the preview; what is not said is empty. */
interface Connection {
  id: string;
  name: string;
  user: string;
  device: string;
  establishedAt: string;
  status: string;
}

/** What became of the connections that were to be ended; in a dry run, those that would have been. */
interface Outcome {
  terminated: Connection[];
  notTerminated: Connection[];
  wouldTerminate: Connection[];
  errors: Failure[];
}
interface Failure {
  error: unknown;
  /** Of the connection that could not be ended, if it is about one. */
  connectionId?: string;
}
const NONE: Outcome = { terminated: [], notTerminated: [], wouldTerminate: [], errors: [] };

/** When the time of an invocation is over, in ms of performance.now(), and what the last call met that was tried again. */
interface Deadline {
  at: number;
  lastError?: unknown;
}

interface Decision {
  allow: boolean;
  /** For the administrator. */
  reason: string;
  /** For the user who is denied. */
  notice: string;
  outcome: Outcome;
  /** Whether a dry run allows the login all the same. */
  isChecked?: boolean;
  /** With KEEP_NAMES, how many connections may be the user's too, as they have no name. */
  unnamed?: number;
}
const allowed = (reason: string, outcome = NONE) => ({ allow: true, reason, notice: "", outcome });
const denied = (reason: string, notice: string, outcome = NONE) => ({ allow: false, reason, notice, outcome });
const failed = (reason: string, notice: string, outcome: Outcome) =>
  ON_FAILURE === "allow" ? allowed(reason, outcome) : denied(reason, notice, outcome);
const notLookedUp = (errors: Failure[]) =>
  failed("older connections could not be looked up", NOT_LOOKED_UP, { ...NONE, errors });
const checked = (decision: Decision) => ({ ...decision, isChecked: true });

/**
 * Sweeps the endpoint that the event's own field `sweep` names; without that field, answers a login.
 *
 * @param event whatever is neither a {@link SweepRequest} nor a valid {@link ClientConnectRequest} is denied
 * @param context tells the remaining time in ms; without it, 30,000 ms are assumed, and more are not used
 * @returns the answer to a login, or what a sweep found and ended, at least 1,000 ms before that time is over
 * @throws never for a login; a sweep, where its field or a setting is wrong, and after it did what it could, if not all
 */
export function handler(event: SweepRequest, context?: Partial<Context>): Promise<SweepResult>;
export function handler(event: ClientConnectRequest, context?: Partial<Context>): Promise<ClientConnectResponse>;
export function handler(event: unknown, context?: Partial<Context>): Promise<ClientConnectResponse | SweepResult>;
export function handler(event: unknown, context?: Partial<Context>): Promise<ClientConnectResponse | SweepResult> {
  return isSweep(event) ? sweep(event.sweep, context) : login(event, context);
}

/** Decides about one new connection, and ends the user's older ones. Never throws. */
async function login(event: unknown, context?: Partial<Context>): Promise<ClientConnectResponse> {
  const startedAt = performance.now();
  const unexpected = (error: unknown) => checked({ ...notLookedUp([{ error }]), reason: "an unexpected error" });
  const decision = await decide(event, context).catch(unexpected);
  const isDryRun = DRY_RUN && decision.isChecked;
  const { allow, reason, notice } = isDryRun ? allowed(`dry run: ${decision.reason}`) : decision;
  const wouldBe = { decision: wordFor(decision.allow), ...counted(decision.outcome.wouldTerminate) };
  const fields = { ...fieldsOf(event, allow, reason), unnamed: decision.unnamed };
  log(startedAt, decision.allow, fields, { dryRun: isDryRun ? wouldBe : undefined }, decision.outcome);
  return answer(allow, notice, allow ? statusesFor(textOf(event, IDENTITY)) : []);
}

/** What a login's log entry says of it. */
function fieldsOf(event: unknown, allow: boolean, reason: string) {
  const text = (field: string) => cut(textOf(event, field));
  return {
    decision: wordFor(allow),
    reason: cut(reason),
    user: shortened(comparable(textOf(event, IDENTITY))),
    username: text("username"),
    commonName: text("common-name"),
    publicIp: text("public-ip"),
    platform: text("platform"),
    endpointId: text("endpoint-id"),
    connectionId: text("connection-id"),
  };
}

const answer = (allow: boolean, notice: string, statuses: string[]): ClientConnectResponse => ({
  allow,
  "error-msg-on-denied-connection": notice,
  "posture-compliance-statuses": statuses,
  "schema-version": "v3",
});

/**
 * The lever for an emergency, as the function's second entry point, `index.letIn`: allows every login, whatever is set,
 * without asking EC2. A sweep is passed by, so that the alarm on stopped sweeps tells of a lever that was forgotten.
 *
 * @param event a login, whether valid or not, or a sweep
 * @returns the answer that allows; it never throws
 */
export async function letIn(event: unknown): Promise<ClientConnectResponse> {
  const reason = "let in without a check: the function's entry point is letIn";
  if (isSweep(event)) log(performance.now(), true, { reason, endpointId: cut(textOf(event, "sweep")) }, {}, NONE);
  else log(performance.now(), true, fieldsOf(event, true, reason), {}, NONE);
  return answer(true, "", []);
}

/** Answers what needs no look at EC2, and has the rest checked. */
async function decide(event: unknown, context?: Partial<Context>): Promise<Decision> {
  if (wrongSettings.length > 0) return denied(wrongSettings.join("; "), WRONG_SETTING);
  const request = validate(event);
  if (typeof request === "string") return denied(request, INVALID_REQUEST);
  const { version, user } = request;
  const cannotCheck = (code: string, message: string) => checked(notLookedUp([{ error: errorNamed(code, message) }]));
  if (EXEMPT_USERS.has(user)) return allowed("exempt user");
  if (!CHECK_LOGINS) return allowed("noted, and left to the sweep");
  if (version !== "v3") return cannotCheck("UnknownSchemaVersion", `schema-version: expected 'v3', got '${version}'`);
  // Two empty names are not the same user: taking them for one would end everybody's connection. Where one connection
  // without a name makes everybody's check fail, a login that would add one is not let in.
  const isHarmless = CAN_FILTER || (KEEP_NAMES && IDENTITY === "username");
  if (user === "" && isHarmless) return allowed(`no ${IDENTITY} to compare`);
  if (user === "") return cannotCheck("UnnamedLogin", `no ${IDENTITY} to compare`);
  return checked(await check(request, deadlineOf(context, DRY_RUN ? DRY_RUN_CHECK_MS : LONGEST_CHECK_MS)));
}

/** Returns what counts of a request, or a sentence that says which field is wrong. */
function validate(event: unknown): Login | string {
  if (!isObject(event)) return `invalid request: expected a JSON object, got ${inspect(event)}`;
  const { "schema-version": version, "connection-id": connectionId, "endpoint-id": endpointId } = event;
  const name = event[IDENTITY] ?? "";
  const wrong = (field: string, expected: string) =>
    `invalid request: ${field}: expected ${expected}, got ${inspect(event[field])}`;
  if (typeof version !== "string" || !/^v([3-9]|[1-9]\d+)$/.test(version)) return wrong("schema-version", "'v3'");
  if (typeof connectionId !== "string" || connectionId === "") return wrong("connection-id", "a non-empty string");
  if (typeof endpointId !== "string" || endpointId === "") return wrong("endpoint-id", "a non-empty string");
  if (typeof name !== "string") return wrong(IDENTITY, "a string");
  if (isBroken(endpointId)) return wrong("endpoint-id", "whole characters");
  if (isBroken(name)) return wrong(IDENTITY, "whole characters");
  const device = comparable(textOf(event, "common-name"));
  return { version, endpointId, connectionId, user: comparable(name), device };
}

/** Half of a character cannot be sent: the SDK throws in the middle of a request, and begins the next one with its rest. */
const isBroken = (text: string) => /\p{Surrogate}/u.test(text);

/** Checks one login: looks up the user's connections, chooses those that have to make room, and ends them. */
async function check(request: Login, deadline: Deadline): Promise<Decision> {
  const { endpointId, connectionId, user, device } = request;
  const tooOften = denied("too many new connections", TOO_OFTEN);
  const key = JSON.stringify([endpointId, user]);
  if (isRemembered(key)) return tooOften;
  const { connections, errors } = await lookUp(endpointId, filtersFor(user), deadline);
  // EC2 documents a row's user name for Active Directory only. A row without one is this user's, as EC2 was asked for this
  // name alone. Where all rows were asked for, or the name may be read as a wildcard, such a row may be anybody's.
  const isFilterSure = CAN_FILTER && !/[*?]/.test(user);
  const own = connections.find(({ id }) => id === connectionId);
  const live = connections.filter((one) => one !== own && !hasEnded(one));
  const unnamed = isFilterSure ? [] : live.filter((one) => one.user === "");
  // With KEEP_NAMES, it may be older than that setting, or than the handler on the endpoint: one such connection would deny
  // everybody for as long as a session lasts, and everybody's is one on the first day. So it is only counted.
  if (unnamed[0] && !KEEP_NAMES) {
    errors.push({ error: unexpectedAnswer(`EC2 gave no ${IDENTITY} for ${unnamed[0].id}, which may be anybody's`) });
  }
  // Where it is not known who is connected, nobody is ended.
  if (errors.length > 0) return notLookedUp(errors);
  const isUsers = (one: Connection) => one.user === user || (one.user === "" && isFilterSure);
  const noting = (decision: Decision) => (KEEP_NAMES ? { ...decision, unnamed: unnamed.length } : decision);
  if (connections.filter((one) => isUsers(one) && isNew(one)).length >= TOO_MANY_NEW) {
    remember(key);
    return noting(tooOften);
  }
  const excess = excessOfUser(live.filter(isUsers), own, device);
  const outcome = await terminateAll(endpointId, excess, deadline);
  if (outcome.errors.length > 0) {
    return noting(failed("older connections could not be terminated", NOT_TERMINATED, outcome));
  }
  const none = unnamed.length > 0 ? "no older connections among those with a name" : "no older connections";
  return noting(allowed(excess.length > 0 ? "older connections terminated" : none, outcome));
}

/** By the wall clock, as Lambda freezes the process. A clock that is set back ends it too. */
const isRemembered = (key: string) => Math.abs(Date.now() - (refusedAt.get(key) ?? 0)) < REMEMBERED.ms;

/** After a look-up alone: if a refusal from memory began it anew, who hammers would keep the owner out for good. */
function remember(key: string): void {
  if (DRY_RUN) return;
  refusedAt.delete(key); // so that it comes last
  refusedAt.set(key, Date.now());
  const [oldest = ""] = refusedAt.keys();
  if (refusedAt.size > REMEMBERED.users) refusedAt.delete(oldest);
}

/** Ends what is too old among all connections of an endpoint: of each user, the newest stay. */
async function sweep(endpointId: unknown, context?: Partial<Context>): Promise<SweepResult> {
  const startedAt = performance.now();
  if (wrongSettings.length > 0) throw new Error(wrongSettings.join("; "));
  if (typeof endpointId !== "string" || endpointId === "" || isBroken(endpointId)) {
    throw new Error(`invalid input: sweep: expected a non-empty string, got ${cut(inspect(endpointId))}`);
  }
  const deadline = deadlineOf(context, LONGEST_CHECK_MS);
  const { connections, errors } = await lookUp(endpointId, undefined, deadline);
  const isLate = isOver(deadline);
  if (isLate) errors.push({ error: noTimeLeft(deadline) });
  // A list of which a part could not be read is enough: whoever has too many in it has too many in all.
  const excess = isLate ? [] : excessOfEachUser(connections);
  const outcome = await terminateAll(endpointId, excess, deadline);
  const active = connections.filter((one) => !hasEnded(one) && !EXEMPT_USERS.has(one.user));
  const found = { active: active.length, unnamed: active.filter(({ user }) => user === "").length };
  const done = { ...outcome, errors: [...errors, ...outcome.errors] };
  const dryRun = DRY_RUN ? counted(outcome.wouldTerminate) : undefined;
  log(startedAt, true, { endpointId: cut(endpointId), ...found }, { dryRun }, done);
  logUsersOfSweep(startedAt, endpointId, outcome);
  if (done.errors[0]) throw errorNamed("IncompleteSweep", `${cut(String(done.errors[0].error))}; see the log entry`);
  return { "endpoint-id": endpointId, ...found, terminated: outcome.terminated.map(({ id }) => id) };
}

/** Logs an entry for each user too: nothing that reads the log can count the names in a list. */
function logUsersOfSweep(startedAt: number, endpointId: string, { terminated, wouldTerminate }: Outcome): void {
  const reason = "older connections terminated by a sweep";
  const fieldsOf = (user: string) => ({ user: shortened(user), endpointId: cut(endpointId) });
  for (const [user, ended] of byUser(terminated)) {
    log(startedAt, true, { reason, ...fieldsOf(user) }, {}, { ...NONE, terminated: ended });
  }
  for (const [user, ended] of [...byUser(wouldTerminate)].slice(0, LOGGED_USERS)) {
    log(startedAt, true, { reason: `dry run: ${reason}`, ...fieldsOf(user) }, { dryRun: counted(ended) }, NONE);
  }
}

/** Names for which this gives the same are one user's. Where there is none, EC2, its logs and VPN clients write a word. */
export function comparable(name: string): string {
  if (["-", "N/A", "NA"].includes(name)) return "";
  const user = IGNORE_USERNAME_CASE ? name.toLowerCase() : name;
  if (!KEEP_NAMES || isKeptWhole(user)) return user;
  return KEPT.hash + createHash("sha256").update(user).digest("hex");
}

/** Returns the status that keeps a user's name with the connection, with its letter case where that fits. */
function statusesFor(name: string): string[] {
  const user = comparable(name);
  if (!KEEP_NAMES || user === "") return [];
  return [user.startsWith(KEPT.hash) ? user : statusOf(isKeptWhole(name) ? name : user)];
}

/** Returns the name that statuses keep, and the user: both empty if they contradict each other; undefined if they keep none. */
export function keptIn(statuses: string[]): { name: string; user: string } | undefined {
  const kept = statuses.flatMap((status) => {
    const isHash = status.startsWith(KEPT.hash) && /^[\da-f]{64}$/.test(status.slice(KEPT.hash.length));
    if (isHash) return { name: status, user: status };
    const name = nameIn(status);
    const user = comparable(name);
    return status === statusOf(name) && user !== "" ? { name, user } : [];
  });
  const isOne = kept.every(({ user }) => user === kept[0]?.user);
  return isOne ? kept[0] : { name: "", user: "" };
}

function isKeptWhole(name: string): boolean {
  const canFit = name.length <= LONGEST_STATUS;
  return canFit && statusOf(name).length <= LONGEST_STATUS && !name.startsWith(KEPT.hash);
}

function statusOf(name: string): string {
  const bytes = Buffer.from(name).toString("latin1");
  return KEPT.name + bytes.replace(/[^\w.-]/g, (byte) => `%${byte.charCodeAt(0).toString(16).padStart(2, "0")}`);
}

/** The reverse of `statusOf`; of any other text, something of which that does not give the text. */
function nameIn(status: string): string {
  const bytes = status.slice(KEPT.name.length).replace(/%(..)/g, (_, hex) => String.fromCharCode(Number(`0x${hex}`)));
  return Buffer.from(bytes, "latin1").toString();
}

/** Returns EC2's filters for a user's connections; none where EC2 cannot filter, and everybody's have to be read. */
function filtersFor(user: string) {
  if (!CAN_FILTER) return undefined;
  // EC2's filters read * and ? as wildcards and \ as their escape. Whether this API does so is not documented, so the
  // filter gets both readings of the name, and check() keeps only the user's own rows.
  const escaped = user.replace(/[*?\\]/g, "\\$&");
  return [{ Name: "username", Values: [...new Set([user, escaped])] }];
}

/** Reads an endpoint's connections, also those that have ended, and notes what EC2's answers leave open. */
async function lookUp(ClientVpnEndpointId: string, Filters: ReturnType<typeof filtersFor>, deadline: Deadline) {
  const connections = new Map<string, Connection>();
  const errors: Failure[] = [];
  const pages = pagesOf((page) => {
    const command = new DescribeClientVpnConnectionsCommand({ ClientVpnEndpointId, Filters, ...page });
    return ask(deadline, (abortSignal) => client.send(command, { abortSignal }));
  });
  try {
    for await (const rows of pages) {
      for (const row of rows) {
        checkEndpoint(row.ClientVpnEndpointId, ClientVpnEndpointId);
        const one = toConnection(row);
        if (one.id !== "") connections.set(one.id, one);
        // It may be a second row of one that is listed with its id, so it is not counted as one more.
        else if (!hasEnded(one)) errors.push({ error: unexpectedAnswer("EC2 gave a connection without its id") });
      }
    }
  } catch (error) {
    errors.push({ error });
  }
  return { connections: [...connections.values()], errors };
}

/** Yields the rows of each page, which `read` asks EC2 for. Throws where an answer is not EC2's. */
export async function* pagesOf(
  read: (page: { MaxResults: number; NextToken: string | undefined }) => Promise<DescribeClientVpnConnectionsResult>,
) {
  const tokens = new Set<string | undefined>();
  let NextToken: string | undefined;
  do {
    const page = await read({ MaxResults: PAGE_SIZE, NextToken });
    // Where nobody is connected, EC2 sends an empty list. An answer without a list is not EC2's.
    if (page.Connections === undefined) throw unexpectedAnswer("EC2 gave no list of connections");
    yield page.Connections;
    NextToken = page.NextToken;
    if (tokens.has(NextToken)) throw unexpectedAnswer("EC2 gave the same page again");
    tokens.add(NextToken);
  } while (NextToken);
}

function checkEndpoint(actual: string | undefined, expected: string): void {
  if (actual && actual !== expected) throw unexpectedAnswer(`EC2 answered for another endpoint, ${actual}`);
}

/** Returns what counts of a row in EC2's list. */
export function toConnection(row: ClientVpnConnection): Connection {
  const { ConnectionId = "", Username = "", CommonName = "", ConnectionEstablishedTime = "", Status } = row;
  const listed = IDENTITY === "username" ? Username : CommonName;
  // What was kept came with a login, as what it is compared with; EC2's list may spell it otherwise.
  const kept = KEEP_NAMES ? keptIn(row.PostureComplianceStatuses ?? []) : undefined;
  const { name, user } = kept ?? { name: listed, user: comparable(listed) };
  return {
    id: ConnectionId,
    name,
    user,
    device: IDENTITY === "username" ? comparable(CommonName) : user,
    // EC2 gives the time as text that sorts, `2019-08-12 07:57:14`, and "-" for none.
    establishedAt: /^\d{4}-/.test(ConnectionEstablishedTime) ? ConnectionEstablishedTime : "",
    status: Status?.Code ?? "",
  };
}

/** EC2 lists a connection for an hour after its end. One with any other status, or none, may still be connected. */
export const hasEnded = ({ status }: { status: string }) => status === "terminating" || status === "terminated";

/** EC2's clock may be ahead of Lambda's, and it gives no time of its own: a row's `Timestamp` stays as it ends. */
function isNew(one: Connection): boolean {
  const age = Math.abs(Date.now() - Date.parse(`${one.establishedAt}Z`));
  return age <= (hasEnded(one) ? NEW_MS.ended : NEW_MS.live);
}

/** Within a second the id decides, so that logins and sweeps do the same each time. */
const newestFirst = (a: Connection, b: Connection) => order(b.establishedAt, a.establishedAt) || order(a.id, b.id);
const isNewer = (a: Connection, b: Connection) => newestFirst(a, b) < 0;
const order = (a: string, b: string) => Number(a > b) - Number(a < b);

/** Returns those of the user's connections that have to make room for the new one. */
function excessOfUser(others: Connection[], own: Connection | undefined, device: string): Connection[] {
  // EC2 may list the new connection already. Then those that are newer stay, and their logins end this one: else two
  // logins of the same moment would end each other.
  const older = own?.establishedAt ? others.filter((one) => isNewer(own, one)) : others;
  // A device that lost its network comes back while EC2 still lists its dead connection: that one goes, not another's.
  const isDevice = (one: Connection) => device !== "" && one.device === device;
  const lastToGo = (a: Connection, b: Connection) => Number(isDevice(a)) - Number(isDevice(b)) || newestFirst(a, b);
  const newer = others.length - older.length;
  const olderThatMayStay = Math.max(0, MAX_CONNECTIONS_PER_USER - 1 - newer);
  return older.toSorted(lastToGo).slice(olderThatMayStay);
}

/**
 * Returns what would go if each user's newest connection were just logging in, the oldest first. A connection without a
 * name or a time, or with a status that EC2 does not document, neither goes nor makes another one go.
 */
export function excessOfEachUser(connections: Connection[]): Connection[] {
  const isSure = ({ user, establishedAt, status }: Connection) =>
    user !== "" && !EXEMPT_USERS.has(user) && establishedAt !== "" && /^(active|failed-to-terminate)$/.test(status);
  const ofUsers = [...byUser(connections.filter(isSure).toSorted(newestFirst)).values()];
  const excess = ofUsers.flatMap(([own, ...others]) => excessOfUser(others, own, own?.device ?? ""));
  return excess.toSorted(newestFirst).toReversed();
}

/** Returns each user's connections, in their order. */
function byUser(connections: Connection[]): Map<string, Connection[]> {
  const ofUsers = new Map<string, Connection[]>();
  for (const one of connections) {
    const ofUser = ofUsers.get(one.user);
    if (ofUser) ofUser.push(one);
    else ofUsers.set(one.user, [one]);
  }
  return ofUsers;
}

/** Ends connections, several at once. One that cannot be ended does not keep the others alive. */
async function terminateAll(endpointId: string, excess: Connection[], deadline: Deadline): Promise<Outcome> {
  if (DRY_RUN) return { ...NONE, wouldTerminate: excess };
  const terminated = new Set<Connection>();
  const errors: Failure[] = [];
  const queue = excess.values();
  const terminateFromQueue = async () => {
    for (const one of queue) {
      try {
        await terminate(endpointId, one.id, deadline);
        terminated.add(one);
      } catch (error) {
        errors.push({ connectionId: one.id, error });
        if (isOver(deadline)) return;
      }
    }
  };
  await Promise.all(Array.from({ length: TERMINATIONS_AT_ONCE }, terminateFromQueue));
  return { ...NONE, terminated: [...terminated], notTerminated: excess.filter((one) => !terminated.has(one)), errors };
}

/** Returns when the connection has been ended or was gone already; throws when it could not be ended. */
async function terminate(ClientVpnEndpointId: string, ConnectionId: string, deadline: Deadline): Promise<void> {
  const command = new TerminateClientVpnConnectionsCommand({ ClientVpnEndpointId, ConnectionId });
  try {
    const answer = await ask(deadline, (abortSignal) => client.send(command, { abortSignal }));
    if (!answer.ClientVpnEndpointId && !answer.ConnectionStatuses) throw unexpectedAnswer("EC2 did not say what ended");
    checkEndpoint(answer.ClientVpnEndpointId, ClientVpnEndpointId);
    for (const { CurrentStatus } of answer.ConnectionStatuses ?? []) {
      const status = CurrentStatus?.Code;
      if (status && !hasEnded({ status })) throw errorNamed(status, CurrentStatus.Message);
    }
  } catch (error) {
    if (!(error instanceof Error && error.name === "InvalidClientVpnConnection.IdNotFound")) throw error;
  }
}

/** Returns when to be done: a second before the invocation's time is over, and after `longestMs` at the latest. */
function deadlineOf(context: Partial<Context> | undefined, longestMs: number): Deadline {
  const remaining = context?.getRemainingTimeInMillis?.() ?? CLIENT_VPN_WAITS_MS;
  return { at: performance.now() + Math.min(remaining - RESERVE_MS, longestMs) };
}
const isOver = (deadline: Deadline) => !(deadline.at - performance.now() >= SHORTEST_CALL_MS); // also where it is no number

/**
 * Asks EC2 until it answers, until it says what will not get better, or until the time is over: a login waits, so it is
 * worth trying as long as there is time. The SDK's own retries let in nearly as many of a storm at their best settings
 * (npm run bench -- storm). But they wait for a body that drips until the time is over, what EC2 said is lost then, and
 * minutes of throttling leave their quota empty for the container's next users. A retryStrategy for the SDK that mends
 * this is longer than this loop, as it is not told the call or the deadline, and cannot end one attempt.
 */
async function ask<T>(deadline: Deadline, call: (abortSignal: AbortSignal) => Promise<T>): Promise<T> {
  let lastError: unknown;
  for (let retries = 0; !isOver(deadline); retries++) {
    try {
      return await attempt(call, Math.min(ATTEMPT_TIMEOUT_MS, (deadline.at - performance.now()) / 2));
    } catch (error) {
      if (!mayGetBetter(error)) throw error;
      // What EC2 itself has said tells more than a time-out of our own.
      if (error !== NO_ANSWER || lastError === undefined) lastError = error;
      deadline.lastError = lastError;
      await sleep(waitMs(error, retries, deadline));
    }
  }
  throw lastError ?? noTimeLeft(deadline);
}

/** How long to wait before the next attempt, in ms: longer each time, and so that time is left for one more. */
function waitMs(error: unknown, retries: number, deadline: Deadline): number {
  const first = isThrottled(error) ? FIRST_THROTTLED_WAIT_MS : FIRST_RETRY_WAIT_MS;
  const left = Math.max(0, deadline.at - performance.now() - SHORTEST_CALL_MS);
  const longest = Math.min(first * 2 ** retries, LONGEST_RETRY_WAIT_MS, left / 2);
  // Most of it by chance: users who were refused in the same moment must not come back in the same moment.
  return longest * (0.25 + 0.75 * Math.random());
}

/** Calls EC2 once, for so many ms at most, whatever the SDK makes of the signal. */
async function attempt<T>(call: (abortSignal: AbortSignal) => Promise<T>, ms: number): Promise<T> {
  const end = new AbortController();
  const timeOut = async () => {
    await sleep(ms, undefined, { signal: end.signal });
    throw NO_ANSWER;
  };
  try {
    return await Promise.race([call(end.signal), timeOut()]);
  } finally {
    // Closes the socket of a call that timed out, also where its body drips; stops the time-out of one that did not.
    end.abort();
  }
}

/**
 * Whether trying again may help: EC2 or the way to it is broken or busy, which its status tells without a readable body, or
 * the SDK has just set its clock by EC2's.
 */
function mayGetBetter(error: unknown): boolean {
  if (!isObject(error)) return false;
  const { name, code, $response: response, $metadata: metadata } = error;
  const status = isObject(response) ? Number(response.statusCode) : 0;
  const isSystemError = /^E(?!RR_)[A-Z_]+$/.test(String(code)); // ECONNRESET, ENOTFOUND; Node's own begin with ERR_
  const isClockSet = isObject(metadata) && metadata.clockSkewCorrected === true;
  return (
    status >= 500 || status === 429 || isSystemError || isThrottled(error) || isClockSet || /Timeout/.test(String(name))
  );
}

const isThrottled = (error: unknown) =>
  isObject(error) && /Throttl|TooManyRequests|(Request|Bandwidth)LimitExceeded|SlowDown/.test(String(error.name));

// Lambda's JSON log format takes an object; in its text format, CloudWatch Logs Insights finds the fields in one line of
// JSON. Either way line breaks are escaped, so that no user name can forge an entry.
function log(startedAt: number, isFine: boolean, fields: object, lists: object, outcome: Outcome): void {
  const { terminated, notTerminated, errors } = outcome;
  const write = isFine && errors.length === 0 ? console.info : console.error;
  try {
    const entry = {
      ...fields,
      terminatedCount: terminated.length,
      notTerminatedCount: notTerminated.length,
      errorCount: errors.length,
      durationMs: Math.round(performance.now() - startedAt),
      // Last, as CloudWatch Logs Insights finds the first 200 fields of an entry.
      ...lists,
      terminated: idsOf(terminated),
      notTerminated: idsOf(notTerminated),
      errors: errors.slice(0, LOGGED.errors).map(({ connectionId, error }) => ({ connectionId, ...described(error) })),
    };
    write(process.env.AWS_LAMBDA_LOG_FORMAT === "JSON" ? entry : JSON.stringify(entry));
  } catch {
    // Older connections may have been ended by now: a log line that cannot be written must not cost the new one too.
  }
}

const wordFor = (allow: boolean) => (allow ? "allow" : "deny");
const cut = (text: string) => (text.length > LOGGED.characters ? `${text.slice(0, LOGGED.characters)}…` : text);
const shortened = (user: string) => user.slice(0, LOGGED_USER_CHARACTERS);
const idsOf = (connections: Connection[]) => connections.slice(0, LOGGED.ids).map(({ id }) => id);
const counted = (terminated: Connection[]) => ({ terminatedCount: terminated.length, terminated: idsOf(terminated) });

/** Returns EC2's error code, the system's (`ECONNRESET`) or the error's name, with the message. */
function described(error: unknown): { code: string; message: string } {
  if (!(error instanceof Error)) return { code: "Unknown", message: cut(String(error)) };
  const code = "code" in error && typeof error.code === "string" ? error.code : error.name;
  return { code: cut(String(code)), message: cut(String(error.message)) };
}

/** The name is what the log shows as the error's code. */
const errorNamed = (name: string, message?: string) => Object.assign(new Error(message), { name });
const NO_ANSWER = errorNamed("TimeoutError", "no answer from EC2 in time");
const unexpectedAnswer = (message: string) => errorNamed("UnexpectedAnswer", message);

/** Of a call that was not made. What took the time is another call's error, so it is told in the message and not as the code. */
function noTimeLeft({ lastError }: Deadline): Error {
  const cause = lastError === undefined ? undefined : described(lastError);
  const after = cause ? `, after an earlier call met ${cause.code}: ${cause.message}` : "";
  return errorNamed("DeadlineExceeded", `no time left to call EC2${after}`);
}
const textOf = (event: unknown, field: string) =>
  isObject(event) && typeof event[field] === "string" ? event[field] : "";
const isSweep = (event: unknown): event is { sweep: unknown } => isObject(event) && Object.hasOwn(event, "sweep");
const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
