// What a login and a sweep have in common: an EC2 that does what the case says, and what is then seen of its connections.

import assert from "node:assert/strict";
import type { Connection } from "../../ec2/connection.ts";
import { type Action, FAULTS, type Fault } from "../../ec2/faults.ts";
import type { LoopbackEc2 } from "../../ec2/server.ts";
import type { Script, Weather } from "./cases.ts";
import { count, type Tally } from "./lanes.ts";

/** Gives EC2 its weather. Returns a function that tells how often a page's token has led to itself. */
export function prepare(ec2: LoopbackEc2, { wildcards, pageSize, faults }: Weather, tally: Tally): () => number {
  ec2.reset();
  // A request of the last case that is still on its way finds its endpoint gone.
  ec2.endpointId = `cvpn-endpoint-${nextId()}`;
  Object.assign(ec2, { wildcards, pageSize });
  let sameToken = 0;
  for (const [action, script] of Object.entries(faults)) {
    const played = play(script);
    const next = () => {
      const fault = played.next().value;
      if (fault === undefined) return undefined;
      if (fault === "same-token") sameToken++;
      count(tally, `fault ${typeof fault === "object" ? fault.code : fault}`);
      return fault;
    };
    if (isAction(action)) ec2.fail(action, next, Number.POSITIVE_INFINITY);
  }
  return () => sameToken;
}

function* play(script: Script): Generator<Fault | undefined, undefined> {
  for (const { fault, times } of script) {
    for (let i = 0; i < times; i++) yield fault === "none" ? undefined : fault;
  }
}

function isAction(name: string): name is Action {
  return name in FAULTS;
}

let lastId = 0;

export function nextId(): string {
  return String(++lastId).padStart(17, "0");
}

/** In seconds, or -1 where EC2 does not tell it. */
export function secondOf({ establishedAt }: Connection): number {
  return typeof establishedAt === "string" ? -1 : establishedAt.getTime() / 1_000;
}

export function isNewer(a: Connection, b: Connection): boolean {
  return secondOf(a) === secondOf(b) ? a.connectionId < b.connectionId : secondOf(a) > secondOf(b);
}

export function isLive({ status }: Connection): boolean {
  return status === "active" || status === "failed-to-terminate";
}

export function endedOf(ec2: LoopbackEc2): Set<Connection> {
  return new Set(ec2.connections.filter(({ endedAt }) => endedAt !== undefined));
}

/** What a rule about time or pages looks at. */
export interface Timed {
  remaining: number;
  measured: { durationMs: number; lateMs: number };
  /** How often a page's token has led to itself. */
  sameToken: number;
}

export function checkTime({ remaining, measured: { durationMs, lateMs } }: Timed): void {
  assert.ok(durationMs - lateMs <= remaining - 1_000, `took ${durationMs} ms, where timers fired ${lateMs} ms late`);
}

export function checkPages({ sameToken, measured: { lateMs } }: Timed): void {
  // A call that a busy machine makes too late is made again.
  assert.ok(sameToken <= 2 || lateMs > 20, `goes on after the same page token came ${sameToken} times`);
}

/** Asserts that what was ended is what the log entry says. */
export function checkEnded(ended: Set<Connection>, log: { terminated: string[]; notTerminated: string[] }): void {
  const ids = new Set([...ended].map(({ connectionId }) => connectionId));
  // EC2 may have carried out what it did not confirm in time.
  const logged = new Set([...log.terminated, ...log.notTerminated]);
  for (const id of ids) assert.ok(logged.has(id), `ended ${id}, which is not in the log entry`);
  for (const id of log.terminated) assert.ok(ids.has(id), `logs ${id} as ended, which it is not`);
}
