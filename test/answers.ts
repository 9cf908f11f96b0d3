import { expect } from "vitest";
import { ENDPOINT_ID } from "./ec2.ts";
import { CONNECTION_ID } from "./events.ts";

/** Asserts that Client VPN accepts an answer (schema v3) and that it shows the user nothing of the account. */
export function expectValidAnswer(response: unknown): void {
  expect(response).toStrictEqual({
    allow: expect.any(Boolean),
    "error-msg-on-denied-connection": expect.any(String),
    "posture-compliance-statuses": [],
    "schema-version": "v3",
  });
  const { allow, "error-msg-on-denied-connection": message } = Object(response);
  expect(message.length).toBeLessThanOrEqual(255);
  expect(message === "").toBe(allow);
  expect(message).not.toMatch(/arn:|\d{12}|cvpn-|RequestLimit|Unauthorized|EC2/);
}

export const ALLOWED = {
  allow: true,
  "error-msg-on-denied-connection": "",
  "posture-compliance-statuses": [],
  "schema-version": "v3",
};

/** The log entry of alice being allowed after these older connections of hers were ended. */
export function entryOfTerminated(...terminated: string[]) {
  return {
    decision: "allow",
    reason: "older connections terminated",
    username: "alice",
    endpointId: ENDPOINT_ID,
    connectionId: CONNECTION_ID,
    terminated,
    notTerminated: [],
    errors: [],
    durationMs: expect.any(Number),
  };
}
