/** How the preview shows its report: as a text or as JSON, and without names where they are to be hidden. */

import { styleText } from "node:util";
import { count, type Handler, type Report, surplusOf } from "./judge.ts";

const MOST = { users: 20, ids: 2, groups: 3, name: 32 };
const WIDTH = 120;
const SIGN_IN: Record<string, string> = {
  "certificate-authentication": "certificates",
  "directory-service-authentication": "Active Directory",
  "federated-authentication": "SAML",
};

/** Puts a number in the place of each name, id and ARN. `comparable` tells which names are one user's, who has one number. */
export function redacted(report: Report, comparable: Handler["comparable"]): Report {
  const { endpoint, parameters } = report;
  const user = numbered("user", comparable);
  const connection = numbered("connection");
  return {
    ...report,
    endpoint: {
      ...endpoint,
      id: "endpoint 1",
      handler: endpoint.handler && { ...endpoint.handler, arn: "handler 1" },
      connectionLog: endpoint.connectionLog === null ? null : "log group 1",
    },
    users: report.users.map((one) => ({ ...one, name: user(one.name), wouldEnd: one.wouldEnd.map(connection) })),
    spellings: report.spellings.map((group) => group.map(user)),
    parameters: {
      ...parameters,
      EndpointId: "endpoint 1",
      ConnectionLogGroup: parameters.ConnectionLogGroup && "log group 1",
      ExemptUsers: parameters.ExemptUsers.split(",")
        .map((name) => name && user(name))
        .join(","),
    },
  };
}

/** Returns a function that numbers what it is given, in the order in which it is first given; the same key, the same number. */
function numbered(kind: string, keyOf = (text: string) => text): (text: string) => string {
  const numbers = new Map<string, number>();
  return (text) => {
    const key = keyOf(text);
    const number = numbers.get(key) ?? numbers.size + 1;
    numbers.set(key, number);
    return `${kind} ${number}`;
  };
}

const UNSHOWN = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;

/** What a terminal would obey, or not show, is written as the number of the character. */
export const visible = (text: string) =>
  text.replace(UNSHOWN, (character) => `\\u{${character.codePointAt(0)?.toString(16) ?? ""}}`);

/** Returns the report as JSON. JSON.stringify() leaves some such characters as they are. */
export function asJson(report: Report): string {
  const escaped = (character: string) =>
    character.replace(/[\s\S]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);
  const json = JSON.stringify(report, null, 2);
  return `${json.replace(UNSHOWN, (character) => (character === "\n" ? character : escaped(character)))}\n`;
}

/** Returns the report as a text with styles, as a terminal takes them. */
export function asText(report: Report, region: string): string {
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
  const { active, withUsername, withCommonName, withKeptName } = connections;
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
      `${count(withCommonName)} with a common name, ${count(withKeptName)} with a kept name; the ${compared} is compared`,
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
    const isUnknown = connections.active > 0 && connections.named === 0;
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
