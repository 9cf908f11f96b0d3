// What a login and a sweep have in common: an EC2 that does what the case says, and what is then seen of its connections.

import assert from "node:assert/strict";
import type { Connection } from "../../ec2/connection.ts";
import { type Action, FAULTS, type Fault } from "../../ec2/faults.ts";
import type { LoopbackEc2 } from "../../ec2/server.ts";
import { refusalsIn, type Script, type Weather } from "./cases.ts";
import { count, type Tally } from "./lanes.ts";

/** Gives EC2 its weather. Returns what of it has befallen a request so far. */
export function prepare(ec2: LoopbackEc2, weather: Weather, tally: Tally): Played {
  const { wildcards, pageSize, faults } = weather;
  ec2.reset();
  // A request of the last case that is still on its way finds its endpoint gone.
  ec2.endpointId = `cvpn-endpoint-${nextId()}`;
  Object.assign(ec2, { wildcards, pageSize });
  const played: Played = { DescribeClientVpnConnections: [], TerminateClientVpnConnections: [] };
  for (const [action, script] of Object.entries(faults)) {
    if (!isAction(action)) continue;
    const faultsInTurn = play(script);
    const next = () => {
      const fault = faultsInTurn.next().value;
      if (fault === undefined) return undefined;
      played[action].push(fault);
      count(tally, `fault ${typeof fault === "object" ? fault.code || fault.status : fault}`);
      return fault;
    };
    ec2.fail(action, next, Number.POSITIVE_INFINITY);
  }
  return played;
}

/** What a case is about, in a word for the tally. */
export function weatherWord({ isFair }: Weather, due: Connection[]): string {
  return isFair ? `fair weather, ${due.length > 0 ? "somebody" : "nobody"} to end` : "rough weather";
}

/** The faults that have happened, in order. */
export type Played = Record<Action, Fault[]>;

/** How often EC2 did not do what it was asked to, and would not have done so the next time. */
export function refusals(played: Played): Record<"ofLookUp" | "ofTerminations", number> {
  return {
    ofLookUp: refusalsIn(played.DescribeClientVpnConnections, "DescribeClientVpnConnections"),
    ofTerminations: refusalsIn(played.TerminateClientVpnConnections, "TerminateClientVpnConnections"),
  };
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
export function secondOf({ establishedAt }: Pick<Connection, "establishedAt">): number {
  return typeof establishedAt === "string" ? -1 : establishedAt.getTime() / 1_000;
}

export function isNewer(a: Connection, b: Connection): boolean {
  return secondOf(a) === secondOf(b) ? a.connectionId < b.connectionId : secondOf(a) > secondOf(b);
}

export function oldestOf(rows: Connection[]): Connection | undefined {
  return rows.find((row) => rows.every((other) => !isNewer(row, other)));
}

export function isLive({ status }: Connection): boolean {
  return status === "active" || status === "failed-to-terminate";
}

/** Returns those that have so many newer ones beside them, or more. */
export function withNewer(atLeast: number, connections: Connection[]): Connection[] {
  return connections.filter((row) => connections.filter((other) => isNewer(other, row)).length >= atLeast);
}

/** Asserts that nothing was ended but what had to be. */
export function checkExcess(ended: Set<Connection>, due: Connection[]): void {
  for (const row of ended) assert.ok(due.includes(row), `ended ${row.connectionId}, which the limit does not require`);
}

/** Asserts that all was ended that had to be, but for as many as EC2 refused to end. */
export function checkDone(ended: Set<Connection>, due: Connection[], refused: number): void {
  const left = due.filter((row) => !ended.has(row)).map(({ connectionId }) => connectionId);
  assert.equal(left.length, refused, `EC2 refused to end ${refused}, and these are left: ${left}`);
}

export function endedOf(ec2: LoopbackEc2): Set<Connection> {
  return new Set(ec2.connections.filter(({ endedAt }) => endedAt !== undefined));
}

/** What a rule about time or pages looks at. */
export interface Timed {
  remaining: number;
  measured: { durationMs: number; lateMs: number };
  played: Played;
}

export function checkTime({ remaining, measured: { durationMs, lateMs } }: Timed): void {
  assert.ok(durationMs - lateMs <= remaining - 1_000, `took ${durationMs} ms, where timers fired ${lateMs} ms late`);
}

export function checkPages({ played, measured: { lateMs } }: Timed): void {
  const sameToken = played.DescribeClientVpnConnections.filter((fault) => fault === "same-token").length;
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
