import assert from "node:assert/strict";
import type { ClientConnectResponse } from "../../src/handler.ts";
import { ENDPOINT_ID } from "../ec2/server.ts";
import { CONNECTION_ID, connectEvent } from "./events.ts";
import type { Invocation } from "./lambda.ts";

/** Asserts that Client VPN accepts an answer (schema v3) and that it shows the user nothing of the account. */
export function expectValidAnswer(response: unknown): asserts response is ClientConnectResponse {
  const {
    allow,
    "error-msg-on-denied-connection": message,
    "posture-compliance-statuses": statuses,
  } = Object(response);
  assert.equal(typeof allow, "boolean");
  assert.equal(typeof message, "string");
  assert.deepEqual(response, {
    allow,
    "error-msg-on-denied-connection": message,
    "posture-compliance-statuses": statuses,
    "schema-version": "v3",
  });
  // With KEEP_NAMES, one that keeps the user's name, which only an answer that allows has.
  assert.ok(Array.isArray(statuses) && statuses.length <= (allow ? 1 : 0));
  for (const status of statuses) assert.match(status, /^vpn-session-handler\.[\w.%-]{1,235}$/);
  assert.ok(message.length <= 255, message);
  assert.equal(message === "", allow);
  assert.doesNotMatch(message, /arn:|\d{12}|cvpn-|RequestLimit|Unauthorized|EC2/);
}

/** What a decision's log entry has to hold at least. */
export interface LogEntry {
  decision: string;
  reason: string;
  terminated: string[];
  notTerminated: string[];
  errors: { code: string; message: string; connectionId?: string }[];
  [field: string]: unknown;
}

/** Asserts that an answer is valid, and that the one log entry, on one line, says the same; returns it with its level. */
export function checkAnswer({ response, log }: Invocation): { entry: LogEntry; level: string } {
  expectValidAnswer(response);
  assert.equal(log.length, 1);
  const [{ level, message } = { level: "", message: [] }] = log;
  assert.equal(message.length, 1);
  const line = String(message[0]);
  assert.doesNotMatch(line, /[\r\n]/);
  const entry: LogEntry = JSON.parse(line);
  assert.equal(entry.decision, response.allow ? "allow" : "deny");
  return { entry, level };
}

/** The same where no setting makes an answer of a failure: what is denied is an error, and nothing else is. */
export function checkUsualAnswer(invocation: Invocation): LogEntry {
  const { entry, level } = checkAnswer(invocation);
  assert.equal(level, invocation.response.allow ? "info" : "error");
  return entry;
}

export const ALLOWED: ClientConnectResponse = {
  allow: true,
  "error-msg-on-denied-connection": "",
  "posture-compliance-statuses": [],
  "schema-version": "v3",
};

/**
 * Asserts that a sweep wrote an entry of its own and then one for each user of whom it ended something, or in a dry run would
 * have; returns the first one, its level, and the ids of those by user, with the words for the rest.
 */
export function checkSweepLog(log: Invocation["log"]) {
  const [first, ...others] = log.map(({ level, message }) => {
    assert.equal(message.length, 1);
    assert.doesNotMatch(String(message[0]), /[\r\n]/);
    return { level, entry: JSON.parse(String(message[0])) };
  });
  assert.ok(first);
  const users = others.map(({ level, entry }): [user: string, terminated: string[]] => {
    const { user, endpointId, dryRun, ...rest } = entry;
    const { terminated, terminatedCount } = dryRun ?? rest;
    assert.equal(level, "info");
    assert.equal(endpointId, first.entry.endpointId);
    assert.deepEqual(rest, {
      reason: `${dryRun ? "dry run: " : ""}older connections terminated by a sweep`,
      terminated: dryRun ? [] : terminated,
      terminatedCount: dryRun ? 0 : terminatedCount,
      notTerminated: [],
      notTerminatedCount: 0,
      errors: [],
      errorCount: 0,
      durationMs: rest.durationMs,
    });
    assert.equal(terminated.length, Math.min(100, terminatedCount));
    return [user, terminated];
  });
  assert.equal(new Set(users.map(([user]) => user)).size, users.length);
  return { entry: first.entry, level: first.level, users };
}

const ALICE = connectEvent();

/** The log entry, without its time, of alice being allowed after these older connections of hers were ended. */
export function entryOfTerminated(...terminated: string[]) {
  return {
    decision: "allow",
    reason: "older connections terminated",
    user: "alice",
    username: "alice",
    commonName: "",
    publicIp: ALICE["public-ip"],
    platform: ALICE.platform,
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
