/** What the built file writes in every case that the queries, the metric filters and the rule tell apart. */

import { REFUSED } from "../ec2/faults.ts";
import { ENDPOINT_ID, type LoopbackEc2 } from "../ec2/server.ts";
import { connectEvent } from "../helpers/events.ts";
import { type Invocable, InvocationError, type Lambda, measuredUntil } from "../helpers/lambda.ts";
import { type Row, rowOf } from "./logs-insights.ts";

export const LOGINS = [
  "login",
  "login that took over",
  "login that was let in unchecked",
  "login that was let in although one could not be ended",
  "login that was noted",
  "login whose name was kept",
  "denial",
  "dry run: login",
  "dry run: login that would take over",
  "dry run: login that would be denied",
  "dry run: unchecked login that would be denied",
  "dry run: unchecked login that would be let in",
] as const;
export const SWEEPS = ["sweep", "dry run: sweep"] as const;
export const SWEPT_USERS = ["user whom a sweep ended", "dry run: user whom a sweep would end"] as const;
export const KINDS = [...LOGINS, ...SWEEPS, ...SWEPT_USERS, "crash", "platform"] as const;

/** What an entry is about. */
export type Kind = (typeof KINDS)[number];

/** An entry of the log group, as Lambda's JSON log format writes it. */
export interface LogEntry {
  kind: Kind;
  /** The line of JSON. */
  line: string;
  /** The same, as Logs Insights reads it. */
  row: Row;
}

/** A log group that is written by invocations. All times in it are told: what they really are is as the machine is busy. */
export class LogGroup {
  readonly entries: LogEntry[] = [];

  /** Invokes a handler, and adds what it and Lambda write. The first of its entries is of the one kind, others of users. */
  async write(kind: Kind, by: Invocable, event: unknown, ofUsers: Kind = "user whom a sweep ended"): Promise<void> {
    const requestId = `request-${this.entries.length}`;
    this.#add("platform", { type: "platform.start", record: { requestId, version: "$LATEST" } });
    const { log, thrown } = await invoke(by, event);
    for (const [i, { level, message }] of log.entries()) {
      const told = { ...Object(message[0]), durationMs: 10 * this.entries.length };
      this.#add(i === 0 ? kind : ofUsers, { level: level.toUpperCase(), requestId, message: told });
    }
    // Lambda's own words on what the handler throws.
    if (thrown)
      this.#add("crash", { level: "ERROR", requestId, message: { errorType: "Error", errorMessage: thrown } });
    const metrics = { durationMs: 41.5, billedDurationMs: 42, memorySizeMB: 512, maxMemoryUsedMB: 99 };
    const record = { requestId, metrics, status: thrown ? "error" : "success" };
    this.#add("platform", { type: "platform.report", record });
  }

  #add(kind: Kind, fields: object): void {
    const timestamp = new Date(Date.UTC(2026, 0, 1, 8) + this.entries.length * 1_000).toISOString();
    const line = JSON.stringify({ timestamp, ...fields });
    this.entries.push({ kind, line, row: { "@timestamp": timestamp, ...rowOf(JSON.parse(line)) } });
  }
}

async function invoke(by: Invocable, event: unknown) {
  try {
    return { ...(await by.invoke(event)), thrown: "" };
  } catch (error) {
    return { ...measuredUntil(error), thrown: error instanceof InvocationError ? error.message : "" };
  }
}

const SWEEP = { sweep: ENDPOINT_ID };
const LOOK_UP = "DescribeClientVpnConnections";
const TERMINATE = "TerminateClientVpnConnections";

/** Records the story: every kind, with more than one where sums and highest values differ. */
export async function recordStory(ec2: LoopbackEc2, lambda: Lambda): Promise<LogEntry[]> {
  const log = new LogGroup();
  const enforcing = await lambda.loadWith({ EXEMPT_USERS: "kiosk" });
  const lenient = await lambda.loadWith({ ON_FAILURE: "allow" });
  const watching = await lambda.loadWith({ DRY_RUN: "true" });
  const lenientWatching = await lambda.loadWith({ DRY_RUN: "true", ON_FAILURE: "allow" });
  const noting = await lambda.loadWith({ CHECK_LOGINS: "false" });
  const keeping = await lambda.loadWith({ KEEP_NAMES: "true" });
  const mistaken = await lambda.loadWith({ IDENTITY: "email" });
  const phone = connectEvent({ "public-ip": "198.51.100.9" });

  /** Begins anew, with so many connections of these users. */
  const connected = (counts: Record<string, number>, establishedAt?: Date) => {
    ec2.reset();
    for (const [username, count] of Object.entries(counts)) {
      for (let i = 0; i < count; i++) {
        ec2.addConnection({ username, establishedAt: establishedAt ?? new Date(Date.UTC(2026, 0, 1, 7, i)) });
      }
    }
  };
  const refusing = () => {
    connected({});
    ec2.fail(LOOK_UP, REFUSED);
  };
  const burst = () => connected({ alice: 7 }, new Date());

  connected({});
  await log.write("login", enforcing, connectEvent());
  await log.write("login", enforcing, connectEvent({ username: "kiosk" }));
  await log.write("login", enforcing, connectEvent({ username: "" }));
  connected({ alice: 2 });
  await log.write("login that took over", enforcing, connectEvent());
  connected({ alice: 1 });
  await log.write("login that took over", enforcing, phone);
  refusing();
  await log.write("login that was let in unchecked", lenient, connectEvent());
  connected({ alice: 3 });
  ec2.fail(TERMINATE, "failed-to-terminate", 2);
  await log.write("login that was let in although one could not be ended", lenient, connectEvent());

  for (const user of ["alice", "bob"]) {
    refusing();
    await log.write("denial", enforcing, connectEvent({ username: user }));
  }
  connected({ alice: 2 });
  ec2.fail(TERMINATE, "failed-to-terminate", 2);
  await log.write("denial", enforcing, connectEvent());
  burst();
  await log.write("denial", enforcing, connectEvent());
  await log.write("denial", enforcing, connectEvent({ "endpoint-id": "cvpn-endpoint-0a0a0a0a0a0a0a0a0" }));
  await log.write("denial", mistaken, connectEvent());
  await log.write("denial", watching, { sweeep: ENDPOINT_ID });

  connected({});
  await log.write("sweep", enforcing, SWEEP);
  connected({ alice: 3, bob: 2, "": 1 });
  await log.write("sweep", enforcing, SWEEP);
  connected({ alice: 3 });
  ec2.fail(TERMINATE, "failed-to-terminate");
  await log.write("sweep", enforcing, SWEEP);
  refusing();
  await log.write("sweep", enforcing, SWEEP);
  await log.write("crash", enforcing, { sweep: "" });
  connected({ alice: 3, "": 2 });
  for (const _ of ["once", "a minute later"]) {
    await log.write("dry run: sweep", watching, SWEEP, "dry run: user whom a sweep would end");
  }

  connected({});
  await log.write("dry run: login", watching, connectEvent());
  connected({ alice: 2 });
  await log.write("dry run: login that would take over", watching, connectEvent());
  await log.write("dry run: login that would take over", watching, phone);
  burst();
  await log.write("dry run: login that would be denied", watching, connectEvent());
  refusing();
  await log.write("dry run: unchecked login that would be denied", watching, connectEvent());
  refusing();
  await log.write("dry run: unchecked login that would be let in", lenientWatching, connectEvent());

  connected({ alice: 1 });
  await log.write("login that was noted", noting, phone);
  connected({ "": 9 });
  await log.write("login whose name was kept", keeping, connectEvent());
  return log.entries;
}
