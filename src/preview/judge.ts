/** What the preview makes of what it read: who is over the limit, what to do, and which parameters the stack needs. */

import type { ClientVpnConnection, ClientVpnEndpoint } from "@aws-sdk/client-ec2";
import type { Options } from "./command.ts";
import type { Seen } from "./look.ts";

/** The module that decides, as it is loaded. */
export type Handler = typeof import("../handler.ts");
type Connection = ReturnType<Handler["toConnection"]>;

/** What the stack takes, and what it is to be given. */
export type StackParameters = ReturnType<typeof parametersFor>;

/** What --json prints. With --redact, nothing in it is a name, an id, an ARN or an account. */
export interface Report {
  endpoint: {
    id: string;
    status: string | null;
    authentication: string[];
    handler: { arn: string; status: string | null } | null;
    /** The log group; null: it is off. */
    connectionLog: string | null;
    sessionTimeoutHours: number | null;
    /** Whether the session ends then; otherwise the client connects again by itself. */
    disconnectOnSessionTimeout: boolean | null;
    /** Who tells EC2 of a device's posture. */
    trustProviders: string[];
  };
  connections: {
    active: number;
    withUsername: number;
    withCommonName: number;
    /** In a status of the handler's own, of the kind of name that is compared. */
    withKeptName: number;
    /** With a name to compare, kept or listed. */
    named: number;
    /** With statuses that are not the handler's. */
    withOtherStatuses: number;
  };
  /** Names that may be one person's. */
  spellings: string[][];
  /** Who is over the limit, with the ids of what would be ended, the newest first. */
  users: { name: string; connections: number; wouldEnd: string[] }[];
  parameters: StackParameters;
  /** They name nobody: --redact leaves them as they are. */
  notes: { level: "problem" | "advice"; text: string }[];
}
type Findings = Omit<Report, "notes">;

/** Returns the stack's parameters: what the options say, and otherwise what the endpoint suggests. */
export function parametersFor(endpoint: ClientVpnEndpoint, options: Options) {
  const exempt = options.exempt.split(",").map((name) => name.trim());
  return {
    EndpointId: options.endpointId,
    Identity: options.identity ?? (isCertificateAlone(endpoint) ? "common-name" : "username"),
    IgnoreUsernameCase: String(options.ignoreCase),
    // What the connections suggest is known when they have been read.
    KeepNames: "true",
    MaxConnectionsPerUser: options.max,
    ExemptUsers: exempt.join(","),
    OnFailure: "deny",
    ConnectionLogGroup: logGroupOf(endpoint) ?? "",
    DryRun: "true",
  };
}

/** Loads the handler with these parameters as its settings. It reads them once, whatever the shell has set. */
export async function loadHandler(parameters: StackParameters): Promise<Handler> {
  Object.assign(process.env, {
    IDENTITY: parameters.Identity,
    IGNORE_USERNAME_CASE: parameters.IgnoreUsernameCase,
    // Names that were kept are read, and where there are none, it takes those that are listed, as without.
    KEEP_NAMES: "true",
    CHECK_LOGINS: "true",
    MAX_CONNECTIONS_PER_USER: parameters.MaxConnectionsPerUser,
    EXEMPT_USERS: parameters.ExemptUsers,
    ON_FAILURE: parameters.OnFailure,
    DRY_RUN: parameters.DryRun,
  });
  return await import("../handler.ts");
}

/** Has the handler decide who is over the limit, and says what follows. */
export function judge({ endpoint, rows, parameters, handler }: Seen): Report {
  const { hasEnded, toConnection } = handler;
  const activeRows = rows.filter((row) => !hasEnded(toConnection(row)));
  const connections = rows.map(toConnection);
  const active = activeRows.map(toConnection);
  const counts = countsOf(activeRows, handler);
  const findings = {
    endpoint: endpointOf(endpoint, parameters.EndpointId),
    connections: counts,
    spellings: spellingsOf(connections),
    users: usersOverLimit(connections, active, handler),
    parameters: { ...parameters, KeepNames: String(isToKeepNames(endpoint, parameters, counts)) },
  };
  const canSweep = active.length === 0 || counts.named > 0;
  const isOneName = new Set(active.map(({ user }) => user)).size === 1;
  const problems = [...problemsOfEndpoint(endpoint, canSweep), ...problemsOfNames(findings, isOneName)];
  return {
    ...findings,
    notes: [
      ...problems.map((text) => ({ level: "problem" as const, text })),
      ...adviceOn(findings, rows.length).map((text) => ({ level: "advice" as const, text })),
    ],
  };
}

function endpointOf(endpoint: ClientVpnEndpoint, id: string): Report["endpoint"] {
  const { Status, SessionTimeoutHours, DisconnectOnSessionTimeout } = endpoint;
  const trustProviders = endpoint.DevicePostureOptions?.TrustProviders ?? [];
  return {
    id,
    status: Status?.Code ?? null,
    authentication: authenticationOf(endpoint),
    handler: handlerOf(endpoint),
    connectionLog: logGroupOf(endpoint),
    sessionTimeoutHours: SessionTimeoutHours ?? null,
    disconnectOnSessionTimeout: DisconnectOnSessionTimeout ?? null,
    trustProviders: trustProviders.flatMap(({ TrustProviderType }) => TrustProviderType ?? []),
  };
}

function authenticationOf({ AuthenticationOptions = [] }: ClientVpnEndpoint): string[] {
  return AuthenticationOptions.flatMap(({ Type }) => Type ?? []);
}

function logGroupOf({ ConnectionLogOptions: log }: ClientVpnEndpoint): string | null {
  return log?.Enabled ? (log.CloudwatchLogGroup ?? "") : null;
}

/** Whether names have to be kept with connections, or are: EC2 lists them for Active Directory, and maybe for nobody else. */
function isToKeepNames(
  endpoint: ClientVpnEndpoint,
  { Identity }: StackParameters,
  { active, named, withKeptName }: Report["connections"],
): boolean {
  // A login with a certificate alone has no user name to keep.
  const hasNoUsernames = Identity === "username" && isCertificateAlone(endpoint);
  return withKeptName > 0 || (named < active && !hasNoUsernames);
}

function isCertificateAlone(endpoint: ClientVpnEndpoint): boolean {
  const types = authenticationOf(endpoint);
  return types.length > 0 && types.every((type) => type === "certificate-authentication");
}

function handlerOf({ ClientConnectOptions: { Enabled, LambdaFunctionArn: arn, Status } = {} }: ClientVpnEndpoint) {
  return Enabled && arn ? { arn, status: Status?.Code ?? null } : null;
}

/** Counts the active connections, and those of them that have something. */
function countsOf(active: ClientVpnConnection[], { comparable, keptIn, toConnection }: Handler): Report["connections"] {
  const isName = (name: string | undefined) => comparable(name ?? "") !== "";
  const isOther = (status: string) => keptIn([status]) === undefined;
  return {
    active: active.length,
    withUsername: active.filter(({ Username }) => isName(Username)).length,
    withCommonName: active.filter(({ CommonName }) => isName(CommonName)).length,
    withKeptName: active.filter((row) => keptIn(row.PostureComplianceStatuses ?? [])?.user).length,
    named: active.filter((row) => toConnection(row).user !== "").length,
    withOtherStatuses: active.filter((row) => row.PostureComplianceStatuses?.some(isOther)).length,
  };
}

function usersOverLimit(connections: Connection[], active: Connection[], handler: Handler): Report["users"] {
  const wouldEnd = grouped(handler.excessOfEachUser(connections).toReversed(), ({ user }) => user);
  const connected = grouped(active, ({ user }) => user);
  return [...wouldEnd]
    .toSorted(([a, own], [b, others]) => others.length - own.length || alphabetically(a, b))
    .map(([name, ended]) => ({
      name,
      connections: connected.get(name)?.length ?? 0,
      wouldEnd: ended.map(({ id }) => id),
    }));
}

/** Groups names that are the same without letter case, `DOMAIN\` and `@domain`, and that the handler takes for several. */
function spellingsOf(connections: Connection[]): string[][] {
  const bare = (name: string) =>
    name
      .toLowerCase()
      .replace(/^[^\\]*\\(?=.)/, "")
      .replace(/(?<=.)@[^@]*$/, "");
  const named = connections.filter(({ user }) => user !== "");
  return [...grouped(named, ({ user }) => bare(user)).values()]
    .map((group) => [...new Map(group.map((one) => [one.user, one])).values()])
    .filter((group) => group.length > 1)
    .map((group) => group.map(({ name }) => name).toSorted(alphabetically))
    .toSorted(([a = ""], [b = ""]) => alphabetically(a, b));
}

function grouped<T>(items: T[], keyOf: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const group = groups.get(keyOf(item));
    if (group) group.push(item);
    else groups.set(keyOf(item), [item]);
  }
  return groups;
}

// Node's own locale would sort differently on another machine.
const alphabetically = (a: string, b: string) => a.localeCompare(b, "en") || Number(a > b) - Number(a < b);

function problemsOfEndpoint(endpoint: ClientVpnEndpoint, canSweep: boolean): string[] {
  const status = endpoint.Status?.Code ?? "in no known state";
  const handler = handlerOf(endpoint);
  const problems: string[] = [];
  if (status === "pending-associate") {
    problems.push("The endpoint is pending-associate. Associate a subnet with it: without one, it lets nobody in.");
  } else if (status !== "available") {
    problems.push(`The endpoint is ${status}.`);
  }
  if (handler) {
    problems.push(
      `A client connect handler is set (${handler.status ?? "in no known state"}). If it is not this stack's, turning ` +
        "this one on replaces it: " +
        (canSweep
          ? "leave out TurnOn, and let the sweep enforce alone."
          : "an endpoint has one, and without names the sweep cannot enforce alone."),
    );
  } else if (endpoint.ClientConnectOptions?.Status?.Code === "applying") {
    problems.push(
      "The client connect handler is being turned off, which can take up to four hours. Until this is applied, the " +
        "endpoint may go on asking it: do not delete it.",
    );
  }
  if (/:function:[^:]+:(?!\$LATEST$)[^:]+$/.test(handler?.arn ?? "")) {
    problems.push(
      "The handler's ARN ends with a version or an alias. A version keeps its own settings and code: LetEverybodyIn and " +
        "updates of the stack change $LATEST alone, so the sweeps obey and the logins do not. Set the ARN that ends with " +
        "the function's name.",
    );
  }
  return problems;
}

function adviceOn({ endpoint, connections, spellings, users, parameters }: Findings, listed: number): string[] {
  const advice: string[] = [];
  const { active, named, withOtherStatuses } = connections;
  const isKeeping = parameters.KeepNames === "true";
  if (isKeeping && named < active) {
    const hours = endpoint.sessionTimeoutHours;
    advice.push(
      "KeepNames=true has Client VPN keep the name with each connection, whatever the sign-in is. It needs the handler on " +
        "the endpoint: sweeps alone cannot keep names. It knows only connections that begin after both are on, so leave " +
        `DryRun=true for as long as a session lasts${hours === null ? "" : ` (${hours} hours here)`}.`,
    );
  }
  const readsAll = isKeeping || parameters.Identity === "common-name" || parameters.IgnoreUsernameCase === "true";
  if (readsAll && listed > 1_000) {
    advice.push(
      `With these parameters, each login reads all ${count(listed)} connections that EC2 lists, 1,000 with each call. EC2 ` +
        "limits the calls of an account, so it serves fewer logins at once.",
    );
  }
  if (withOtherStatuses > 0) {
    advice.push(
      `${count(withOtherStatuses)} of ${count(active)} active connections have statuses of another check. It can stay in ` +
        "front of this handler: its statuses come after the name that is kept, ten in all.",
    );
  }
  if (endpoint.trustProviders.length > 0) {
    advice.push(
      `The endpoint asks ${endpoint.trustProviders.join(" and ")} for device posture. An authorization policy may refuse ` +
        "a login after the handler has ended the user's older session. Sweeps alone end nothing for a login that is " +
        "refused: leave out TurnOn, and let them enforce.",
    );
  }
  const surplus = surplusOf(users);
  if (surplus > 0) {
    advice.push(
      `With DryRun=false, the first sweep ends ${surplus === 1 ? "this connection" : `these ${count(surplus)} connections`}. ` +
        "With DryRun=true, it only logs them.",
    );
  }
  if (spellings.length > 0) {
    const differOnlyInCase = spellings.some((group) => new Set(group.map((name) => name.toLowerCase())).size === 1);
    const tryIt = differOnlyInCase ? "; for letter case, try --ignore-case" : "";
    advice.push(`Each spelling gets around the rule. Let each person have one name${tryIt}.`);
  }
  if (endpoint.connectionLog === null) {
    advice.push("The connection log is off. Turn it on: it tells why a login failed.");
  }
  return advice;
}

function problemsOfNames(findings: Findings, isOneName: boolean): string[] {
  const { active, named, withKeptName } = findings.connections;
  const isUsername = findings.parameters.Identity === "username";
  if (active === 0) {
    return ["Nobody is connected, so there is nothing to look at. Look again while users are connected."];
  }
  const unnamed = active - named;
  const problems: string[] = [];
  if (unnamed > 0 && unnamed < active) {
    problems.push(
      `EC2 lists ${count(unnamed)} of ${count(active)} active connections without a ${isUsername ? "user" : "common"} name. ` +
        `Whose they are is unknown, so the sweep ends none of them.${withKeptName > 0 ? HOLD : ""}`,
    );
  }
  if (unnamed === active && !isUsername) {
    problems.push("EC2 lists no common name for any active connection, so there is nothing to compare.");
  } else if (unnamed === active && findings.endpoint.authentication.join() === "certificate-authentication") {
    problems.push(
      "Users sign in with certificates alone, which have no user names, so there is nothing to compare. Use " +
        "--identity common-name.",
    );
  } else if (unnamed === active) {
    problems.push(
      "EC2 lists no user name for any active connection; AWS documents them for Active Directory alone. So neither this " +
        "look nor the sweep can tell whose a connection is, and without KeepNames=true the handler depends on EC2's filter " +
        "for user names. To find out whether a rule works: create the stack as a dry run, turn it on, and connect from two " +
        "devices with one name. The second login's log entry has to have the first connection in dryRun.terminated.",
    );
  } else if (!isUsername && isOneName && active > 1) {
    problems.push(
      "All active connections have the same common name. If people share a certificate, they would be one user: do not " +
        "use Identity=common-name then.",
    );
  }
  return problems;
}

/** Said while some names are kept, as it means that the handler is on the endpoint. */
const HOLD = " They began before their names were kept: leave DryRun=true until there are none.";

/** How many connections would be ended. */
export const surplusOf = (users: Report["users"]) => users.reduce((sum, { wouldEnd }) => sum + wouldEnd.length, 0);

/** A number as people read it, the same wherever this runs. */
export const count = (n: number) => n.toLocaleString("en");
