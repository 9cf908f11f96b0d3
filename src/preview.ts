/**
 * Looks at a Client VPN endpoint before the handler is set up: who is connected more than once, what would be ended, what
 * stands in the way, and which parameters the stack needs. It calls two actions that read, and changes nothing.
 *
 * Who is over the limit and who would go is the handler's decision: the options become its settings, and then it is loaded.
 */

import { realpathSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs, stripVTControlCharacters, styleText } from "node:util";
import type {
  ClientVpnConnection,
  ClientVpnEndpoint,
  DescribeClientVpnConnectionsCommandOutput,
} from "@aws-sdk/client-ec2";
import { endWithOutput, wrongArgument } from "./commands.mjs";

type Handler = typeof import("./handler.ts");
type Connection = ReturnType<Handler["toConnection"]>;

interface Options {
  endpointId: string;
  region: string | undefined;
  max: string;
  /** Undefined: what the endpoint suggests. */
  identity: string | undefined;
  ignoreCase: boolean;
  /** Names between commas. */
  exempt: string;
  json: boolean;
  redact: boolean;
}

type Note = { level: "problem" | "advice"; text: string };

/** What --json prints. With --redact, nothing in it is a name, an id, an ARN or an account. */
interface Report {
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
  connections: { active: number; withUsername: number; withCommonName: number };
  /** Names that may be one person's. */
  spellings: string[][];
  /** Who is over the limit, with the ids of what would be ended, the newest first. */
  users: { name: string; connections: number; wouldEnd: string[] }[];
  /** As the stack takes them. */
  parameters: Record<
    "EndpointId" | "Identity" | "IgnoreUsernameCase" | "MaxConnectionsPerUser" | "ExemptUsers" | "OnFailure" | "DryRun",
    string
  >;
  notes: Note[];
}

/** Returns what is shown in the place of a name, an id or an ARN: with --redact, the same number for the same key. */
type Shown = (kind: string, text: string, key?: string) => string;

/** Where the command writes: a stream of Node's, or what stands for one. */
export interface Output {
  write(text: string): unknown;
  /** Whether it is a terminal. */
  isTTY?: boolean;
}

/** A sentence or two for whoever runs this, and the exit status. */
class Fault extends Error {
  constructor(
    message: string,
    readonly status = 1,
  ) {
    super(message);
  }
}

// From source, npm runs it; the built file runs by itself.
const COMMAND = process.argv[1]?.endsWith(".ts") ? "npm run preview --" : "node preview.mjs";
const USAGE = `usage: ${COMMAND} ENDPOINT_ID [options]; --help lists them`;
const HELP = `usage: ${COMMAND} ENDPOINT_ID [options]

Shows on your own Client VPN endpoint who is connected more than once, what the handler would end, what stands in the
way, and which parameters the stack needs. It reads with your AWS credentials, and changes nothing. It needs the rights
ec2:DescribeClientVpnEndpoints and ec2:DescribeClientVpnConnections.

  --region R             the Region; by default, as every AWS tool finds it
  --max N                connections for each user; 1 by default
  --identity I           whose a connection is, by username or common-name; by default, what the endpoint suggests
  --ignore-case          letter case does not count; by default it does
  --exempt A,B           users who may hold as many connections as they like; none by default
  --json                 one JSON document instead of a text
  --redact               no name, id, ARN or account: user 1, connection 1 and so on, to show it to others
  --help                 this text

examples:
  ${COMMAND} cvpn-endpoint-0123456789abcdef0
  ${COMMAND} cvpn-endpoint-0123456789abcdef0 --region eu-central-1 --max 2 --exempt kiosk,backup
  AWS_PROFILE=network ${COMMAND} cvpn-endpoint-0123456789abcdef0 --json --redact
`;

const MOST = { users: 20, ids: 2, groups: 3, name: 32, message: 300 };
const WIDTH = 120;
const SIGN_IN: Record<string, string> = {
  "certificate-authentication": "certificates",
  "directory-service-authentication": "Active Directory",
  "federated-authentication": "SAML",
};

/**
 * Runs the command once. The environment is the process's: the SDK and the handler read it there, and the handler's settings
 * are written into it. The handler reads them when it is loaded, so a second run needs it anew.
 *
 * @param args what follows the command's name
 * @returns the exit status: 0, 1 for a fault, 2 for wrong use
 */
export async function run(args: string[], stdout: Output, stderr: Output): Promise<number> {
  try {
    const options = readOptions(args);
    if (options === undefined) {
      stdout.write(HELP);
      return 0;
    }
    const { report, region } = await look(options, stderr);
    const text = options.json ? asJson(report) : asText(report, region);
    stdout.write(stdout.isTTY && !process.env.NO_COLOR ? text : stripVTControlCharacters(text));
    return 0;
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    stderr.write(`${error.message}\n`);
    return error.status;
  }
}

/** Returns undefined where help is asked for. */
function readOptions(args: string[]): Options | undefined {
  const { values, positionals } = parsed(args);
  if (values.help) return undefined;
  const { region, max, identity, exempt, redact } = values;
  const [endpointId = "", ...more] = positionals;
  const wrong = (what: string, expected: string, got: string) =>
    wrongUse(`${what}: expected ${expected}${redact ? "" : `, got "${visible(got)}"`}`);
  if (positionals.length === 0) throw wrongUse("ENDPOINT_ID is missing");
  if (more.length > 0) throw wrongUse(`expected one ENDPOINT_ID, got ${positionals.length}`);
  if (!/^cvpn-endpoint-[0-9a-f]{17}$/.test(endpointId)) {
    throw wrong("ENDPOINT_ID", "an id such as cvpn-endpoint-0123456789abcdef0", endpointId);
  }
  if (region !== undefined && !/^[a-z]+(-[a-z]+)+-\d+$/.test(region)) {
    throw wrong("--region", "a Region such as eu-central-1", region);
  }
  if (!/^[1-9]\d*$/.test(max)) throw wrong("--max", "an integer from 1", max);
  if (identity !== undefined && identity !== "username" && identity !== "common-name") {
    throw wrong("--identity", "username or common-name", identity);
  }
  if (exempt.trim() !== "" && exempt.split(",").some((name) => name.trim() === "")) {
    throw wrong("--exempt", "names between commas", exempt);
  }
  const ignoreCase = values["ignore-case"];
  return { endpointId, region, max, identity, ignoreCase, exempt: exempt.trim(), json: values.json, redact };
}

function parsed(args: string[]) {
  try {
    return parseArgs({
      args,
      allowPositionals: true,
      options: {
        region: { type: "string" },
        max: { type: "string", default: "1" },
        identity: { type: "string" },
        "ignore-case": { type: "boolean", default: false },
        exempt: { type: "string", default: "" },
        json: { type: "boolean", default: false },
        redact: { type: "boolean", default: false },
        help: { type: "boolean", short: "h", default: false },
      },
    });
  } catch (error) {
    const isUnknown = Object(error).code === "ERR_PARSE_ARGS_UNKNOWN_OPTION";
    if (isUnknown && args.includes("--redact")) throw wrongUse("Unknown option");
    throw wrongUse(visible(wrongArgument(error)));
  }
}

const wrongUse = (line: string) => new Fault(`${line}\n${USAGE}`, 2);

/** Reads what EC2 has of the endpoint, has the handler decide, and says what follows. */
async function look(options: Options, stderr: Output): Promise<{ report: Report; region: string }> {
  const shown = options.redact ? redacted() : (_kind: string, text: string) => text;
  const { endpoint, rows, region } = await read(options, shown, stderr);
  const parameters = parametersFor(endpoint, options);
  const handler = await loadHandler(parameters);
  return { report: reportOn(endpoint, rows, parameters, handler, shown), region };
}

async function read({ endpointId, region: given, redact }: Options, shown: Shown, stderr: Output) {
  // It would be in the way: this runs on Node 20 as on any later one.
  process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED = "true";
  // Loaded here, as it takes a moment: help and wrong use are answered before.
  const sdk = await import("@aws-sdk/client-ec2");
  // Everything as the SDK does it, but a dead socket must not keep a person waiting.
  const timeOuts = { connectionTimeout: 5_000, requestTimeout: 10_000, throwOnRequestTimeout: true };
  const requestHandler = { ...timeOuts, httpsAgent: { proxyEnv: process.env } };
  const client = new sdk.EC2Client({ ...(given && { region: given }), requestHandler });
  let region = "";
  let action = "DescribeClientVpnEndpoints";
  try {
    region = await client.config.region();
    const command = new sdk.DescribeClientVpnEndpointsCommand({ ClientVpnEndpointIds: [endpointId] });
    const { ClientVpnEndpoints = [] } = await client.send(command);
    const endpoint = ClientVpnEndpoints.find((one) => one.ClientVpnEndpointId === endpointId);
    if (endpoint === undefined) throw Object.assign(new Error(), { name: "InvalidClientVpnEndpointId.NotFound" });
    action = "DescribeClientVpnConnections";
    const input = { ClientVpnEndpointId: endpointId };
    const pages = sdk.paginateDescribeClientVpnConnections({ client, pageSize: 1_000 }, input);
    return { endpoint, rows: await readRows(pages, stderr), region };
  } catch (error) {
    throw new Fault(faultOf(error, action, shown("endpoint", endpointId), region, redact));
  } finally {
    client.destroy();
  }
}

/** Reads all rows, each connection once, those that ended within the last hour included. */
async function readRows(
  pages: AsyncIterable<DescribeClientVpnConnectionsCommandOutput>,
  stderr: Output,
): Promise<ClientVpnConnection[]> {
  const showProgress = (text: string) => stderr.isTTY && stderr.write(`\r\x1b[K${text}`);
  const rows = new Map<string, ClientVpnConnection>();
  const tokens = new Set<string>();
  try {
    for await (const page of pages) {
      // Where nobody is connected, EC2 sends an empty list. An answer without a list is not EC2's.
      if (page.Connections === undefined) throw new Error("the answer has no list of connections");
      for (const row of page.Connections) if (row.ConnectionId) rows.set(row.ConnectionId, row);
      if (page.NextToken === undefined) break;
      if (tokens.has(page.NextToken)) throw new Error("the same page came again");
      tokens.add(page.NextToken);
      showProgress(`reading connections: ${count(rows.size)}`);
    }
  } finally {
    if (tokens.size > 0) showProgress("");
  }
  return [...rows.values()];
}

function parametersFor(endpoint: ClientVpnEndpoint, options: Options): Report["parameters"] {
  const types = authenticationOf(endpoint);
  const isCertificateAlone = types.length > 0 && types.every((type) => type === "certificate-authentication");
  return {
    EndpointId: options.endpointId,
    Identity: options.identity ?? (isCertificateAlone ? "common-name" : "username"),
    IgnoreUsernameCase: String(options.ignoreCase),
    MaxConnectionsPerUser: options.max,
    ExemptUsers: options.exempt,
    OnFailure: "deny",
    DryRun: "true",
  };
}

/** Loads the handler with these settings. It reads them once, whatever the shell has set. */
async function loadHandler(parameters: Report["parameters"]): Promise<Handler> {
  Object.assign(process.env, {
    IDENTITY: parameters.Identity,
    IGNORE_USERNAME_CASE: parameters.IgnoreUsernameCase,
    MAX_CONNECTIONS_PER_USER: parameters.MaxConnectionsPerUser,
    EXEMPT_USERS: parameters.ExemptUsers,
    ON_FAILURE: parameters.OnFailure,
    DRY_RUN: parameters.DryRun,
  });
  return await import("./handler.ts");
}

function authenticationOf({ AuthenticationOptions = [] }: ClientVpnEndpoint): string[] {
  return AuthenticationOptions.flatMap(({ Type }) => Type ?? []);
}

function reportOn(
  endpoint: ClientVpnEndpoint,
  rows: ClientVpnConnection[],
  parameters: Report["parameters"],
  handler: Handler,
  shown: Shown,
): Report {
  const { comparable, excessOfEachUser, hasEnded, toConnection } = handler;
  const connections = rows.map(toConnection);
  const activeRows = rows.filter((row) => !hasEnded(toConnection(row)));
  const active = connections.filter((one) => !hasEnded(one));
  const named = (name: string | undefined) => comparable(name ?? "") !== "";
  const spellings = spellingsOf(connections);

  const wouldEnd = grouped(excessOfEachUser(connections).toReversed(), ({ user }) => user);
  const connected = grouped(active, ({ user }) => user);
  const users = [...wouldEnd]
    .toSorted(([a, own], [b, others]) => others.length - own.length || alphabetically(a, b))
    .map(([user, ended]) => ({
      name: shown("user", user),
      connections: connected.get(user)?.length ?? 0,
      wouldEnd: ended.map(({ id }) => shown("connection", id)),
    }));

  const { Status, ConnectionLogOptions: log, SessionTimeoutHours, DisconnectOnSessionTimeout } = endpoint;
  const handlerOnIt = handlerOf(endpoint);
  const report = {
    endpoint: {
      id: shown("endpoint", parameters.EndpointId),
      status: Status?.Code ?? null,
      authentication: authenticationOf(endpoint),
      handler: handlerOnIt && { ...handlerOnIt, arn: shown("handler", handlerOnIt.arn) },
      connectionLog: log?.Enabled ? shown("log group", log.CloudwatchLogGroup ?? "") : null,
      sessionTimeoutHours: SessionTimeoutHours ?? null,
      disconnectOnSessionTimeout: DisconnectOnSessionTimeout ?? null,
      trustProviders: (endpoint.DevicePostureOptions?.TrustProviders ?? []).flatMap(
        (one) => one.TrustProviderType ?? [],
      ),
    },
    connections: {
      active: active.length,
      withUsername: activeRows.filter(({ Username }) => named(Username)).length,
      withCommonName: activeRows.filter(({ CommonName }) => named(CommonName)).length,
    },
    spellings: spellings.map((group) => group.map(({ name, user }) => shown("user", name, user))),
    users,
    parameters: {
      ...parameters,
      EndpointId: shown("endpoint", parameters.EndpointId),
      ExemptUsers: parameters.ExemptUsers.split(",")
        .map((name) => name.trim() && shown("user", name.trim(), comparable(name.trim())))
        .join(","),
    },
  };
  const differOnlyInCase = spellings.some((group) => new Set(group.map(({ name }) => name.toLowerCase())).size === 1);
  const names = new Set(active.map(({ user }) => user));
  const canSweep = active.length === 0 || namedOf(report) > 0;
  const problems = [...problemsOfEndpoint(endpoint, canSweep), ...problemsOfNames(report, names.size === 1)];
  return {
    ...report,
    notes: [
      ...problems.map((text): Note => ({ level: "problem", text })),
      ...adviceOn(report, differOnlyInCase).map((text): Note => ({ level: "advice", text })),
    ],
  };
}

function handlerOf({ ClientConnectOptions: { Enabled, LambdaFunctionArn: arn, Status } = {} }: ClientVpnEndpoint) {
  return Enabled && arn ? { arn, status: Status?.Code ?? null } : null;
}

/** Groups names that are the same without letter case, `DOMAIN\` and `@domain`, and that the handler takes for several. */
function spellingsOf(connections: Connection[]): Connection[][] {
  const bare = (name: string) =>
    name
      .toLowerCase()
      .replace(/^[^\\]*\\(?=.)/, "")
      .replace(/(?<=.)@[^@]*$/, "");
  const named = connections.filter(({ user }) => user !== "");
  return [...grouped(named, ({ user }) => bare(user)).values()]
    .map((group) => [...new Map(group.map((one) => [one.user, one])).values()])
    .filter((group) => group.length > 1)
    .map((group) => group.toSorted((a, b) => alphabetically(a.name, b.name)))
    .toSorted(([a], [b]) => alphabetically(a?.name ?? "", b?.name ?? ""));
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

function adviceOn(report: Omit<Report, "notes">, differOnlyInCase: boolean): string[] {
  const { endpoint, spellings, users } = report;
  const advice: string[] = [];
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
    const tryIt = differOnlyInCase ? "; for letter case, try --ignore-case" : "";
    advice.push(`Each spelling gets around the rule. Let each person have one name${tryIt}.`);
  }
  if (endpoint.connectionLog === null) {
    advice.push("The connection log is off. Turn it on: it tells why a login failed.");
  }
  return advice;
}

function problemsOfNames(report: Omit<Report, "notes">, isOneName: boolean): string[] {
  const { active } = report.connections;
  const isUsername = report.parameters.Identity === "username";
  if (active === 0) {
    return ["Nobody is connected, so there is nothing to look at. Look again while users are connected."];
  }
  const unnamed = active - namedOf(report);
  const problems: string[] = [];
  if (unnamed > 0 && unnamed < active) {
    problems.push(
      `EC2 lists ${count(unnamed)} of ${count(active)} active connections without a ${isUsername ? "user" : "common"} name. ` +
        "Whose they are is unknown, so the sweep ends none of them.",
    );
  }
  if (unnamed === active && !isUsername) {
    problems.push("EC2 lists no common name for any active connection, so there is nothing to compare.");
  } else if (unnamed === active && report.endpoint.authentication.join() === "certificate-authentication") {
    problems.push(
      "Users sign in with certificates alone, which have no user names, so there is nothing to compare. Use " +
        "--identity common-name.",
    );
  } else if (unnamed === active) {
    problems.push(
      "EC2 lists no user name for any active connection; AWS documents them for Active Directory alone. So neither this " +
        "look nor the sweep can tell whose a connection is, and the handler depends on EC2's filter for user names. To find " +
        "out whether that works: create the stack as a dry run, turn it on, and connect from two devices with one name. The " +
        "second login's log entry has to have the first connection in dryRun.terminated.",
    );
  } else if (!isUsername && isOneName && active > 1) {
    problems.push(
      "All active connections have the same common name. If people share a certificate, they would be one user: do not " +
        "use Identity=common-name then.",
    );
  }
  return problems;
}

/** How many active connections have the name that is compared. */
const namedOf = ({ parameters, connections }: Pick<Report, "parameters" | "connections">) =>
  parameters.Identity === "username" ? connections.withUsername : connections.withCommonName;
const surplusOf = (users: Report["users"]) => users.reduce((sum, { wouldEnd }) => sum + wouldEnd.length, 0);

/** Numbers what it is given, in the order in which it is first given, each kind for itself. */
function redacted(): Shown {
  const kinds = new Map<string, Map<string, string>>();
  return (kind, text, key = text) => {
    const numbers = kinds.get(kind) ?? new Map<string, string>();
    kinds.set(kind, numbers);
    const name = numbers.get(key) ?? `${kind} ${numbers.size + 1}`;
    numbers.set(key, name);
    return name;
  };
}

/** Returns one sentence that says what to do, and on a second line what AWS said. */
function faultOf(error: unknown, action: string, endpoint: string, region: string, redact: boolean): string {
  const { name, code: systemCode, message } = Object(error);
  const code = typeof systemCode === "string" ? systemCode : String(name);
  const is = (pattern: RegExp) => pattern.test(code);
  const said = () => {
    // Names, ARNs and accounts are in the messages alone.
    const text = redact ? code : `${code}: ${message}`.replace(PASSWORD, "//");
    return `\nThe answer was ${visible(text).slice(0, MOST.message)}`;
  };
  const [, wrongRegion] = /^Region not accepted: region="(.*)" is/s.exec(message) ?? [];
  if (/Region is missing/.test(message) || wrongRegion?.trim() === "") {
    return "No AWS Region is set. Name it with --region, or set AWS_REGION or the profile's region.";
  }
  if (wrongRegion !== undefined) {
    const what = redact ? "What is set as AWS Region" : `"${visible(wrongRegion).slice(0, MOST.message)}"`;
    return `${what} is not the name of one. Name it with --region, or correct AWS_REGION or the profile's region.`;
  }
  if (is(/^(Credentials|Token)ProviderError$/)) {
    if (/multi-factor/.test(message)) {
      return (
        "Your profile asks for MFA, which the AWS CLI alone can do. Get a session of it, and try again with --region: " +
        `eval "$(aws configure export-credentials --format env)"; unset AWS_PROFILE${said()}`
      );
    }
    if (/using `?aws login|[\\/]login[\\/]cache[\\/]/.test(message)) {
      return `Your AWS login has expired. Sign in again: aws login, with your profile.${said()}`;
    }
    return /expired|sso/i.test(message)
      ? `Your AWS login has expired. Sign in again: aws sso login, with your profile.${said()}`
      : `There are no AWS credentials. Sign in (aws sso login, aws configure), or name a profile in AWS_PROFILE.${said()}`;
  }
  if (is(/^(ExpiredToken(Exception)?|RequestExpired)$/)) {
    return `Your AWS login has expired. Sign in again, or get new credentials. Is this machine's clock right?${said()}`;
  }
  if (is(/^(AuthFailure|InvalidClientTokenId|UnrecognizedClientException|SignatureDoesNotMatch)$/)) {
    return `AWS does not accept your credentials in ${region}. Check the access key, and whether that Region is turned on.${said()}`;
  }
  if (is(/^(UnauthorizedOperation|AccessDenied(Exception)?)$/)) {
    const resource = action === "DescribeClientVpnEndpoints" ? "*" : "the endpoint";
    return `Your credentials lack the right ec2:${action} on ${resource}. Ask your administrator for it.${said()}`;
  }
  if (is(/^InvalidClientVpnEndpointId/)) {
    return `There is no endpoint ${endpoint} in ${region}. Check the id, the Region (--region) and the account.`;
  }
  if (is(/Throttl|LimitExceeded/)) return `EC2 throttles ${action} in this account. Try again in a minute.${said()}`;
  if (is(/SELF_SIGNED|^UNABLE_TO_|^CERT_UNTRUSTED$/)) {
    return (
      `Node.js does not know who signed the certificate that came for EC2 in ${region}: a firewall may read what is sent. ` +
      `Name the file with its certificate (PEM) in NODE_EXTRA_CA_CERTS, or run this in CloudShell.${said()}`
    );
  }
  if (is(/^E[A-Z_]+$|Timeout/)) {
    return `EC2 in ${region} cannot be reached. ${proxyAdvice()}${said()}`;
  }
  return `EC2 did not answer ${action} as it should. Try again in a minute.${said()}`;
}

/** User and password in the URL of a proxy. */
const PASSWORD = /\/\/[^/@\s]*@/g;

function proxyAdvice(): string {
  if (!process.env.HTTPS_PROXY && !process.env.https_proxy) {
    return "Check your connection, the proxy (HTTPS_PROXY), and the Region.";
  }
  // With the option came what an agent takes as proxyEnv.
  return process.allowedNodeEnvironmentFlags.has("--use-env-proxy")
    ? "The proxy in HTTPS_PROXY was used, unless NO_PROXY names EC2. Check it, your connection, and the Region."
    : `The proxy in HTTPS_PROXY was not used: Node.js ${process.version} cannot. Use Node.js 24, or run this in CloudShell.`;
}

/** What a terminal would obey, or not show, is written as the number of the character. */
const UNSHOWN = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;
const visible = (text: string) =>
  text.replace(UNSHOWN, (character) => `\\u{${character.codePointAt(0)?.toString(16) ?? ""}}`);

/** JSON.stringify() leaves some such characters as they are. */
function asJson(report: Report): string {
  const escaped = (character: string) =>
    character.replace(/[\s\S]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);
  const json = JSON.stringify(report, null, 2);
  return `${json.replace(UNSHOWN, (character) => (character === "\n" ? character : escaped(character)))}\n`;
}

function asText(report: Report, region: string): string {
  const values = Object.entries(report.parameters).map(([name, value]) => `${name}=${quoted(value)}`);
  const lines = [
    ...endpointLines(report, region),
    ...spellingLines(report),
    ...userLines(report),
    ...noteLines(report),
    ...heading(`Parameters for the stack, as a dry run, in ${region}`),
    visible(values.join(" ")),
  ];
  return `${lines.join("\n")}\n`;
}

function endpointLines({ endpoint, connections, parameters }: Report, region: string): string[] {
  const { handler, authentication, trustProviders, sessionTimeoutHours: hours } = endpoint;
  const then = endpoint.disconnectOnSessionTimeout ? ", then disconnected" : ", then connected again by the client";
  const timeOut = hours === null ? "unknown" : plural(hours, "hour");
  const { active, withUsername, withCommonName } = connections;
  const compared = parameters.Identity === "username" ? "user name" : "common name";
  return [
    bold(`${endpoint.id} in ${region}`),
    ...table([
      ["  status", endpoint.status ?? "unknown"],
      ["  users sign in with", authentication.map((type) => SIGN_IN[type] ?? type).join(" and ") || "unknown"],
      ["  handler", handler ? `${handler.arn} (${handler.status ?? "unknown"})` : "none"],
      ["  connection log", endpoint.connectionLog ?? "off"],
      ["  session time-out", endpoint.disconnectOnSessionTimeout === null ? timeOut : timeOut + then],
      ...(trustProviders.length > 0 ? [["  device posture", trustProviders.join(" and ")]] : []),
    ]),
    "",
    `${bold("Names")}: ${plural(active, "active connection")}, ${count(withUsername)} with a user name, ` +
      `${count(withCommonName)} with a common name; the ${compared} is compared`,
  ];
}

function spellingLines({ spellings }: Report): string[] {
  if (spellings.length === 0) return [];
  const groups = spellings.slice(0, MOST.groups).map((group) => `  ${some(group.map(short), 6)}`);
  return [...heading(`Spellings that may be one person${firstOf(groups, spellings)}`), ...groups];
}

function userLines({ users, parameters, connections }: Report): string[] {
  const title = `Over the limit of ${parameters.MaxConnectionsPerUser}`;
  if (users.length === 0) {
    const isUnknown = connections.active > 0 && namedOf({ parameters, connections }) === 0;
    return heading(`${title}: ${isUnknown ? "unknown" : "nobody"}`);
  }
  const rows = users.slice(0, MOST.users).map((user) => {
    return [`  ${short(user.name)}`, count(user.connections), some(user.wouldEnd, MOST.ids)];
  });
  const who = plural(users.length, "user") + firstOf(rows, users);
  return [
    ...heading(`${title}: ${who}; ${plural(surplusOf(users), "connection")} would be ended`),
    ...table([["  USER", "CONNECTIONS", "WOULD BE ENDED, THE NEWEST FIRST"], ...rows], [1]),
  ];
}

function noteLines({ notes }: Report): string[] {
  if (notes.length === 0) return [];
  const lines = notes.flatMap(({ level, text }) => {
    const label = `  ${level.padEnd(9)}`;
    const [first = "", ...rest] = wrapped(visible(text), WIDTH - label.length);
    const start = level === "problem" ? styled("red", label) : label;
    return [start + first, ...rest.map((line) => " ".repeat(label.length) + line)];
  });
  return [...heading("What to do"), ...lines];
}

/** Where the text goes decides what becomes of it: run() takes the styles out again. */
const styled = (style: "bold" | "red", text: string) => styleText(style, text, { validateStream: false });
const bold = (text: string) => styled("bold", visible(text));
const heading = (text: string) => ["", bold(text)];

/** Aligns cells, with some columns to the right. */
function table(rows: string[][], toTheRight: number[] = []): string[] {
  const cells = rows.map((row) => row.map(visible));
  const widthOf = (column: number) => Math.max(...cells.map((row) => row[column]?.length ?? 0));
  const pad = (cell: string, column: number) =>
    toTheRight.includes(column) ? cell.padStart(widthOf(column)) : cell.padEnd(widthOf(column));
  return cells.map((row) => row.map(pad).join("  ").trimEnd());
}

/** For a POSIX shell. */
const quoted = (value: string) => (/^[\w@%+:,./-]*$/.test(value) ? value : `'${value.replaceAll("'", "'\\''")}'`);

const count = (n: number) => n.toLocaleString("en");
const plural = (n: number, thing: string) => `${count(n)} ${thing}${n === 1 ? "" : "s"}`;
const firstOf = (shown: unknown[], all: unknown[]) =>
  shown.length < all.length
    ? ` (here the first ${shown.length}; ${count(all.length - shown.length)} more with --json)`
    : "";
const some = (texts: string[], most: number) =>
  texts.slice(0, most).map(visible).join(", ") + (texts.length > most ? ` and ${count(texts.length - most)} more` : "");
const short = (name: string) =>
  visible(name).length > MOST.name ? `${visible(name).slice(0, MOST.name - 3)}...` : visible(name);

/** Breaks a text at spaces. A word that is longer than a line has one of its own. */
const wrapped = (text: string, width: number): string[] =>
  text.match(new RegExp(`\\S.{0,${width - 1}}(?= |$)|\\S+`, "g")) ?? [];

// The tests import it instead.
if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  endWithOutput();
  process.exitCode = await run(process.argv.slice(2), process.stdout, process.stderr);
}
