import assert from "node:assert/strict";
import { ENDPOINT_ID } from "../ec2/server.ts";
import { CONNECTION_ID } from "./events.ts";

/** Asserts that Client VPN accepts an answer (schema v3) and that it shows the user nothing of the account. */
export function expectValidAnswer(response: unknown): void {
  const { allow, "error-msg-on-denied-connection": message } = Object(response);
  assert.equal(typeof allow, "boolean");
  assert.equal(typeof message, "string");
  assert.deepEqual(response, {
    allow,
    "error-msg-on-denied-connection": message,
    "posture-compliance-statuses": [],
    "schema-version": "v3",
  });
  assert.ok(message.length <= 255, message);
  assert.equal(message === "", allow);
  assert.doesNotMatch(message, /arn:|\d{12}|cvpn-|RequestLimit|Unauthorized|EC2/);
}

export const ALLOWED = {
  allow: true,
  "error-msg-on-denied-connection": "",
  "posture-compliance-statuses": [],
  "schema-version": "v3",
};

/** The log entry, without its time, of alice being allowed after these older connections of hers were ended. */
export function entryOfTerminated(...terminated: string[]) {
  return {
    decision: "allow",
    reason: "older connections terminated",
    username: "alice",
    commonName: "",
    endpointId: ENDPOINT_ID,
    connectionId: CONNECTION_ID,
    terminated,
    terminatedCount: terminated.length,
    notTerminated: [],
    notTerminatedCount: 0,
    errors: [],
    errorCount: 0,
  };
}
