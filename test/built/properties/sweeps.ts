// What holds for every sweep, whatever EC2 does.

import assert from "node:assert/strict";
import type { SweepResult } from "../../../src/handler.ts";
import type { Connection } from "../../ec2/connection.ts";
import { type Invocation, InvocationError } from "../../helpers/lambda.ts";
import { aSweepCase, type SweepCase, toEstablishedAt } from "./cases.ts";
import { count, type Lane, type Property, type Rules, type Tally } from "./lanes.ts";
import {
  checkEnded,
  checkPages,
  checkTime,
  endedOf,
  isLive,
  isNewer,
  nextId,
  prepare,
  secondOf,
  type Timed,
} from "./weather.ts";

interface SeenSweep extends Timed {
  measured: InvocationError["invocation"];
  /** What it returned; nothing, where it threw. */
  result: SweepResult | undefined;
  /** How many connections a user may have. */
  limit: number;
  /** The name by which a user is known. */
  nameOf: (row: Connection) => string | undefined;
  /** Those that are not ending or ended. */
  active: Connection[];
  /** Those of which EC2 can say all that counts, though a fault may hide it. */
  certain: Connection[];
  ended: Set<Connection>;
  /** Whether it returned, and nothing kept it from reading the whole list. */
  isComplete: boolean;
}

const RULES: Rules<SeenSweep> = {
  "one log entry says the same as the outcome"({ measured: { log }, result }) {
    const { active, unnamed, terminated, errors } = entryOf(log);
    assert.equal(log[0]?.level, result ? "info" : "error");
    assert.equal(errors.length === 0, result !== undefined);
    if (result === undefined) return;
    const { "endpoint-id": _, ...returned } = result;
    assert.deepEqual({ active, unnamed, terminated }, returned);
  },

  "it is over one second before the time is": checkTime,

  "the log entry names what was ended, and nothing else": ({ measured: { log }, ended }) =>
    checkEnded(ended, entryOf(log)),

  "nothing is ended of which not all is known"({ ended, certain }) {
    for (const row of ended) assert.ok(certain.includes(row), `ended ${row.connectionId}, of which not all is known`);
  },

  "the newest connections of each user stay, as many as are allowed"({ ended, certain, nameOf, limit }) {
    for (const row of ended) {
      const ofUser = certain.filter((other) => nameOf(other) === nameOf(row));
      const newer = ofUser.filter((other) => other !== row && isNewer(other, row));
      assert.ok(newer.length >= limit, `ended ${row.connectionId}, too new`);
      assert.ok(ofUser.filter((other) => !ended.has(other)).length >= limit, `ended too many of ${nameOf(row)}`);
    }
  },

  "a complete one leaves no user too many"({ isComplete, certain, ended, nameOf, limit }) {
    if (!isComplete) return;
    const left = certain.filter((row) => !ended.has(row));
    for (const row of left) {
      const ofUser = left.filter((other) => nameOf(other) === nameOf(row));
      assert.ok(ofUser.length <= limit, `says that it is complete, and leaves ${ofUser.length} of ${nameOf(row)}`);
    }
  },

  "a complete one counts every connection"({ isComplete, result, active, nameOf }) {
    if (!isComplete) return;
    assert.equal(result?.active, active.length);
    assert.equal(result?.unnamed, active.filter((row) => !nameOf(row)).length);
  },

  "a page that leads to itself is not asked for again": checkPages,
};

/** Sweeps with random faults over random connections. */
export const SWEEPS: Property<SweepCase, SeenSweep> = { cases: aSweepCase, see, rules: RULES };

async function see({ ec2, lambda, limit, identity }: Lane, oneCase: SweepCase, tally: Tally): Promise<SeenSweep> {
  const sameToken = prepare(ec2, oneCase, tally);
  const { remaining, connections, faults } = oneCase;
  for (const { name, status, time } of connections) {
    const names = identity === "username" ? { username: name } : { commonName: name };
    const establishedAt = toEstablishedAt(time);
    const connectionId = `cvpn-connection-${nextId()}`;
    ec2.addConnection({ connectionId, filterUsername: "x", commonName: "x", ...names, status, establishedAt });
  }
  const nameOf = ({ username, commonName }: Connection) => (identity === "username" ? username : commonName);
  const active = ec2.connections.filter(({ status }) => status !== "terminating" && status !== "terminated");
  const certain = active.filter((row) => isLive(row) && nameOf(row) && secondOf(row) >= 0);
  const measured = await lambda.sweep({ sweep: ec2.endpointId }, { remaining }).catch((error: unknown) => {
    if (error instanceof InvocationError) return error.invocation;
    throw error;
  });
  const result = "response" in measured ? measured.response : undefined;
  const ended = endedOf(ec2);

  count(tally, result ? "complete" : "incomplete");
  count(tally, "connections ended", ended.size);
  return {
    remaining,
    measured,
    sameToken: sameToken(),
    result,
    limit,
    nameOf,
    active,
    certain,
    ended,
    isComplete: result !== undefined && faults.DescribeClientVpnConnections.length === 0,
  };
}

interface SweepEntry {
  active: number;
  unnamed: number;
  terminated: string[];
  notTerminated: string[];
  errors: unknown[];
}

function entryOf(log: Invocation["log"]): SweepEntry {
  assert.equal(log.length, 1);
  return JSON.parse(String(log[0]?.message[0]));
}
