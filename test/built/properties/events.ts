// What holds for every event that Client VPN, or somebody else, could send.

import assert from "node:assert/strict";
import { isDeepStrictEqual } from "node:util";
import fc from "fast-check";
import { checkUsualAnswer } from "../../helpers/answers.ts";
import { connectEvent } from "../../helpers/events.ts";
import { keptAs } from "../../helpers/kept.ts";
import { type Invocation, type InvocationError, measuredUntil } from "../../helpers/lambda.ts";
import { isName } from "./cases.ts";
import { count, type Lane, type Property, type Rules, type Tally } from "./lanes.ts";

/** What an event is: a login by what becomes of it where nobody is connected, or a sweep. */
type Kind = "invalid" | "allowed unchecked" | "not checked" | "checked" | "a sweep" | "an invalid sweep";

interface SeenEvent {
  event: unknown;
  /** Without a response, if it threw. */
  measured: Invocation | InvocationError["invocation"];
  kind: Kind;
  /** What the answer is to keep where it allows the login. */
  toKeep: string[];
  /** How often EC2 was called. */
  calls: number;
}

const RULES: Rules<SeenEvent> = {
  "the answer to a login is valid, and one log entry says the same": (seen) => void loginEntryOf(seen),

  "a login is allowed where it is checked or nothing needs it, and no other is"(seen) {
    const entry = loginEntryOf(seen);
    if (entry) assert.equal(entry.decision, /^(allowed un)?checked$/.test(seen.kind) ? "allow" : "deny");
  },

  "a yes has the name where names are kept, and no other answer has it"({ measured, kind, toKeep }) {
    if (isSweep(kind) || !("response" in measured)) return;
    const { allow, "posture-compliance-statuses": statuses } = measured.response;
    assert.deepEqual(statuses, allow ? toKeep : []);
  },

  "what cannot be checked is no invalid request"(seen) {
    const entry = loginEntryOf(seen);
    if (entry) assert.equal(/^invalid request/.test(entry.reason), seen.kind === "invalid");
  },

  "the log entry of a login has what is text of the device, and nothing else"(seen) {
    const entry = loginEntryOf(seen);
    const textOf = (field: string) => [Object(seen.event)[field]].find((value) => typeof value === "string") ?? "";
    if (entry) assert.deepEqual([entry.publicIp, entry.platform], ["public-ip", "platform"].map(textOf));
  },

  "a sweep has its result, or throws where it is invalid, and never answers a login"({ event, measured, kind }) {
    if (!isSweep(kind)) return;
    const result = { "endpoint-id": Object(event).sweep, active: 0, unnamed: 0, terminated: [] };
    assert.deepEqual("response" in measured ? measured.response : undefined, kind === "a sweep" ? result : undefined);
  },

  "EC2 is asked once where there is something to look up, and else never"({ kind, calls }) {
    assert.equal(calls, kind === "checked" || kind === "a sweep" ? 1 : 0);
  },
};

const isSweep = (kind: Kind) => kind === "a sweep" || kind === "an invalid sweep";

/** Nothing, where the event is no login. */
function loginEntryOf({ measured, kind }: SeenEvent) {
  if (isSweep(kind)) return undefined;
  assert.ok("response" in measured, "a login threw");
  return checkUsualAnswer(measured);
}

const FIELDS = ["schema-version", "schema-version", "connection-id", "endpoint-id", "username", "common-name", "sweep"];
const OTHER_FIELDS = ["groups", "platform", "public-ip", "aws-client-version", "__proto__", "not-yet-known"];

const WITH_BOTH_NAMES = connectEvent({ "common-name": "laptop" });

const VERSIONS = ["v2", "v3", "v4", "v9", "v10", "V4", "v03", "v4 ", "v4.1", "v", "4"];
const NAMES = ["-", "N/A", "", "NA", "- ", "007", "Alice"];

const aValue = fc.oneof(fc.jsonValue(), fc.constantFrom(...VERSIONS), fc.constantFrom(...NAMES));

const aField = fc.record({ field: fc.constantFrom(...FIELDS, ...OTHER_FIELDS), value: aValue });

const anEvent: fc.Arbitrary<unknown> = fc.oneof(
  { arbitrary: fc.jsonValue(), weight: 3 },
  { arbitrary: fc.tuple(aField, fc.option(aField)).map(([one, other]) => withFields(one, other ?? one)), weight: 5 },
  // Hardly ever a field that the handler knows.
  { arbitrary: fc.record({ field: fc.string(), value: fc.jsonValue() }).map((one) => withFields(one)), weight: 1 },
  // One of a few events.
  { arbitrary: fc.constantFrom(...FIELDS).map((field) => withFields({ field, value: undefined })), weight: 1 },
);

/** A valid request but for these fields. JSON makes a field of `__proto__`, and none of undefined. */
function withFields(...fields: { field: string; value: unknown }[]): unknown {
  const entries = new Map(Object.entries(WITH_BOTH_NAMES));
  for (const { field, value } of fields) entries.set(field, value);
  const json = [...entries]
    .filter(([, v]) => v !== undefined)
    .map(([k, v]) => `${JSON.stringify(k)}:${JSON.stringify(v)}`);
  return JSON.parse(`{${json.join(",")}}`);
}

/** Random events. */
export const EVENTS: Property<unknown, SeenEvent> = { cases: anEvent, see, rules: RULES };

async function see(lane: Lane, event: unknown, tally: Tally): Promise<SeenEvent> {
  const { ec2, lambda, keepsNames, identity } = lane;
  ec2.reset();
  const kind = kindOf(event, lane);
  if (kind === "checked") ec2.endpointId = String(Object(event)["endpoint-id"]);
  if (kind === "a sweep") ec2.endpointId = String(Object(event).sweep);
  const measured = await lambda.invoke(event, { remaining: 30_000 }).catch(measuredUntil);

  count(tally, `event: ${kind}`);
  if (kind === "checked" && !isDeepStrictEqual(event, WITH_BOTH_NAMES)) count(tally, "event: checked, but odd");
  const name = Object(event)[identity];
  const toKeep = keepsNames && typeof name === "string" && isName(name) ? [keptAs(name, identity)] : [];
  return { event, measured, kind, toKeep, calls: ec2.requests.length };
}

/** The rules of schema v3, and of what is not in it, in other words than the handler's. */
function kindOf(event: unknown, { identity, exempt, checksLogins }: Lane): Kind {
  if (event === null || typeof event !== "object" || Array.isArray(event)) return "invalid";
  const fields = new Map<string, unknown>(Object.entries(event));
  const isText = (value: unknown) => typeof value === "string" && value.length > 0;
  if (fields.has("sweep")) return isText(fields.get("sweep")) ? "a sweep" : "an invalid sweep";
  const name = fields.get(identity) ?? "";
  const version = fields.get("schema-version");
  const number = typeof version === "string" ? Number(version.slice(1)) : 0;
  const isKnown = number >= 3 && version === `v${number}` && Number.isInteger(number);
  if (!isKnown || !isText(fields.get("connection-id")) || !isText(fields.get("endpoint-id"))) return "invalid";
  if (typeof name !== "string") return "invalid";
  if (exempt.includes(name) || !checksLogins) return "allowed unchecked";
  if (number > 3) return "not checked";
  if (isName(name)) return "checked";
  return identity === "username" ? "allowed unchecked" : "not checked";
}
