// What holds for every event that Client VPN, or somebody else, could send.

import assert from "node:assert/strict";
import { isDeepStrictEqual } from "node:util";
import fc from "fast-check";
import { checkUsualAnswer } from "../../helpers/answers.ts";
import { connectEvent } from "../../helpers/events.ts";
import type { Invocation } from "../../helpers/lambda.ts";
import { count, type Lane, type Property, type Rules, type Tally } from "./lanes.ts";

interface SeenEvent {
  measured: Invocation;
  isValid: boolean;
  /** Whose connection it is. */
  name: unknown;
  /** How often EC2 was called. */
  calls: number;
}

const RULES: Rules<SeenEvent> = {
  "the answer is valid, and one log entry says the same": ({ measured }) => void checkUsualAnswer(measured),

  "a valid request is allowed, and nothing else is"({ measured, isValid }) {
    assert.equal(measured.response.allow, isValid);
  },

  "EC2 is asked once about a user, and never without one"({ isValid, name, calls }) {
    assert.equal(calls, isValid && name !== "" ? 1 : 0);
  },

  "nobody is ended"({ measured }) {
    assert.deepEqual(checkUsualAnswer(measured).terminated, []);
  },
};

const FIELDS = ["schema-version", "connection-id", "endpoint-id", "username", "common-name"];
const OTHER_FIELDS = ["groups", "platform", "public-ip", "aws-client-version", "__proto__", "not-yet-known"];

const WITH_BOTH_NAMES = connectEvent({ "common-name": "laptop" });

const anEvent: fc.Arbitrary<unknown> = fc.oneof(
  fc.jsonValue(),
  fc.record({ field: fc.constantFrom(...FIELDS, ...OTHER_FIELDS), value: fc.jsonValue() }).map(withField),
  fc.record({ field: fc.string(), value: fc.jsonValue() }).map(withField),
  fc.constantFrom(...FIELDS).map((field) => withField({ field, value: undefined })),
);

/** A valid request but for one field. JSON makes a field of `__proto__`, and none of undefined. */
function withField({ field, value }: { field: string; value: unknown }): unknown {
  const entries = Object.entries({ ...WITH_BOTH_NAMES, [field]: value });
  if (field === "__proto__") entries.push([field, value]);
  const json = entries.filter(([, v]) => v !== undefined).map(([k, v]) => `${JSON.stringify(k)}:${JSON.stringify(v)}`);
  return JSON.parse(`{${json.join(",")}}`);
}

/** Random events. */
export const EVENTS: Property<unknown, SeenEvent> = { cases: anEvent, see, rules: RULES };

async function see({ ec2, lambda, identity }: Lane, event: unknown, tally: Tally): Promise<SeenEvent> {
  ec2.reset();
  const isValid = isValidRequest(event, identity);
  if (isValid) ec2.endpointId = String(Object(event)["endpoint-id"]);
  const measured = await lambda.invoke(event, { remaining: 30_000 });

  count(tally, isValid ? "valid" : "invalid");
  if (isValid && !isDeepStrictEqual(event, WITH_BOTH_NAMES)) count(tally, "valid, but odd");
  const name = isValid ? (Object(event)[identity] ?? "") : "";
  return { measured, isValid, name, calls: ec2.requests.length };
}

/** The rule of schema v3, in other words than the handler's. */
function isValidRequest(event: unknown, identity: Lane["identity"]): boolean {
  if (event === null || typeof event !== "object" || Array.isArray(event)) return false;
  const fields = new Map<string, unknown>(Object.entries(event));
  const isText = (value: unknown) => typeof value === "string" && value.length > 0;
  const name = fields.get(identity);
  return (
    fields.get("schema-version") === "v3" &&
    isText(fields.get("connection-id")) &&
    isText(fields.get("endpoint-id")) &&
    (name === undefined || name === null || typeof name === "string")
  );
}
