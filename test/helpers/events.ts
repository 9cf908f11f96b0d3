import { readFileSync } from "node:fs";

const alice: Record<string, unknown> = JSON.parse(readFileSync(new URL("events/alice.json", import.meta.url), "utf8"));

/** The connection that is being authorized. */
export const CONNECTION_ID = String(alice["connection-id"]);

/** A request as Client VPN sends it, for alice, with the given fields instead of its own. */
export function connectEvent(fields: Record<string, unknown> = {}): Record<string, unknown> {
  return { ...alice, ...fields };
}

function without(field: string): Record<string, unknown> {
  const { [field]: _, ...rest } = alice;
  return rest;
}

/** What must be denied without a call to EC2: a name, the event, and what the log has to say about it. */
export const BAD_EVENTS: [name: string, event: unknown, reason: string][] = [
  ["null", null, "expected a JSON object, got null"],
  ["nothing", undefined, "expected a JSON object, got undefined"],
  ["an empty array", [], "expected a JSON object, got []"],
  ["a request in an array", [alice], "expected a JSON object, got [\n  {"],
  ["a string", "v3", "expected a JSON object, got 'v3'"],
  ["an empty string", "", "expected a JSON object, got ''"],
  ["a number", 3, "expected a JSON object, got 3"],
  ["a boolean", true, "expected a JSON object, got true"],
  ["an empty object", {}, "schema-version: expected 'v3', got undefined"],
  ["no schema version", without("schema-version"), "schema-version: expected 'v3', got undefined"],
  ["schema version v1", connectEvent({ "schema-version": "v1" }), "schema-version: expected 'v3', got 'v1'"],
  ["schema version V3", connectEvent({ "schema-version": "V3" }), "schema-version: expected 'v3', got 'V3'"],
  ["schema version v3 with a space", connectEvent({ "schema-version": "v3 " }), "expected 'v3', got 'v3 '"],
  ["schema version 3", connectEvent({ "schema-version": 3 }), "schema-version: expected 'v3', got 3"],
  ["schema version [v3]", connectEvent({ "schema-version": ["v3"] }), "expected 'v3', got [ 'v3' ]"],
  ...["connection-id", "endpoint-id"].flatMap((field): typeof BAD_EVENTS => [
    [`no ${field}`, without(field), `${field}: expected a non-empty string, got undefined`],
    [`${field} empty`, connectEvent({ [field]: "" }), `${field}: expected a non-empty string, got ''`],
    [`${field} null`, connectEvent({ [field]: null }), `${field}: expected a non-empty string, got null`],
    [`${field} a number`, connectEvent({ [field]: 7 }), `${field}: expected a non-empty string, got 7`],
    [`${field} a list`, connectEvent({ [field]: ["x"] }), `${field}: expected a non-empty string, got [ 'x' ]`],
    [`${field} an object`, connectEvent({ [field]: {} }), `${field}: expected a non-empty string, got {}`],
  ]),
  [
    "half a character in endpoint-id",
    connectEvent({ "endpoint-id": "a\ud83d" }),
    "endpoint-id: expected whole characters",
  ],
  ["half a character in the user name", connectEvent({ username: "\ude00b" }), "username: expected whole characters"],
  ["user name 0", connectEvent({ username: 0 }), "username: expected a string, got 0"],
  ["user name false", connectEvent({ username: false }), "username: expected a string, got false"],
  ["user name in a list", connectEvent({ username: ["alice"] }), "username: expected a string, got [ 'alice' ]"],
  [
    "user name in an object",
    connectEvent({ username: { name: "a" } }),
    "username: expected a string, got { name: 'a' }",
  ],
  [
    "all fields behind __proto__",
    JSON.parse(`{"__proto__": ${JSON.stringify(alice)}}`),
    "schema-version: expected 'v3', got undefined",
  ],
  [
    "a version of 1 MB",
    connectEvent({ "schema-version": "v".repeat(1_000_000) }),
    "schema-version: expected 'v3', got 'vvv",
  ],
];
