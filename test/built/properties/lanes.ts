// Tries random cases on the built handler, several at once. fast-check makes the cases from a seed, and shrinks one that
// fails to the smallest that still does.

import assert from "node:assert/strict";
import fc from "fast-check";
import { LoopbackEc2 } from "../../ec2/server.ts";
import type { Identity } from "../../helpers/kept.ts";
import { DIST, Lambda } from "../../helpers/lambda.ts";

/** An EC2 and a process with the built file, where one case is tried after the other. */
export interface Lane {
  /** The endpoint of the logins. */
  ec2: LoopbackEc2;
  /** The endpoint of the sweeps: EC2 answers for both, but each has its own connections and faults. */
  swept: LoopbackEc2;
  lambda: Lambda;
  /** How many connections a user may have. */
  limit: number;
  /** By which name a user is known. */
  identity: Identity;
  /** Who may have any number of connections. */
  exempt: string[];
  /** Whether Client VPN is to keep users' names with their connections. */
  keepsNames: boolean;
  /** Whether logins are checked, and not only noted. */
  checksLogins: boolean;
}

/** How often each thing happened in all runs: a rule that never met what it is about would hold for nothing. */
export type Tally = Record<string, number>;

/** What holds, in words, and what throws where it does not. */
export type Rules<Seen> = Record<string, (seen: Seen) => void>;

/** What holds whatever the case is. */
export interface Property<Case, Seen> {
  cases: fc.Arbitrary<Case>;
  /** Tries one case, and returns what the rules look at. */
  see: (lane: Lane, oneCase: Case, tally: Tally) => Promise<Seen>;
  rules: Rules<Seen>;
}

export interface Options {
  /** How many cases. */
  runs: number;
  seed: number;
  onRun?: () => void;
}

export async function startLanes(lanes: number): Promise<Lane[]> {
  return await Promise.all(
    Array.from({ length: lanes }, async (_, number): Promise<Lane> => {
      const limit = number % 2 === 0 ? 1 : 3;
      const identity = number % 3 < 2 ? "username" : "common-name";
      const ec2 = await new LoopbackEc2().start();
      const swept = new LoopbackEc2();
      ec2.beside = [swept];
      const exempt = number % 4 < 2 ? ["007", "Alice"] : [];
      const keepsNames = [3, 4, 5, 6].includes(number % 8);
      const checksLogins = number % 8 !== 6;
      const settings = {
        MAX_CONNECTIONS_PER_USER: String(limit),
        IDENTITY: identity,
        EXEMPT_USERS: exempt.join(" , "),
        KEEP_NAMES: String(keepsNames),
        CHECK_LOGINS: String(checksLogins),
      };
      const lambda = await Lambda.start(`${DIST}index.cjs`, { ...ec2.env, ...settings });
      return { ec2, swept, lambda, limit, identity, exempt, keepsNames, checksLogins };
    }),
  );
}

export async function stopLanes(lanes: Lane[]): Promise<void> {
  for (const { lambda, ec2, swept } of lanes) {
    await lambda.stop();
    swept.reset();
    await ec2.close();
  }
}

/**
 * Tries the rules on random cases, divided among the lanes, each with a seed of its own that follows from the given one.
 * Rejects with the smallest case that fails, its seed and its path.
 */
export async function tryCases<Case, Seen>(
  lanes: Lane[],
  { cases, see, rules }: Property<Case, Seen>,
  { runs, seed, onRun = () => {} }: Options,
): Promise<Tally> {
  const tally: Tally = {};
  const tryIn = async (lane: Lane, number: number) => {
    // What is left over when the runs are divided goes to the first lanes.
    const numRuns = Math.floor(runs / lanes.length) + (number < runs % lanes.length ? 1 : 0);
    if (numRuns === 0) return;
    const property = fc.asyncProperty(cases, async (oneCase) => {
      onRun();
      const seen = await see(lane, oneCase, tally);
      for (const [rule, check] of Object.entries(rules)) {
        try {
          check(seen);
        } catch (error) {
          throw new Error(`not true that ${rule}: ${error instanceof Error ? error.message : error}`, { cause: error });
        }
      }
      assert.equal(lane.lambda.output, "", "wrote something outside of its log entry");
    });
    await fc.assert(property, { numRuns, seed: seed + number, includeErrorInReport: true });
  };
  const outcomes = await Promise.allSettled(lanes.map(tryIn));
  for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;
  return tally;
}

export function count(tally: Tally, what: string, by = 1): void {
  tally[what] = (tally[what] ?? 0) + by;
}
