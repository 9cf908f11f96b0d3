// What holds for every sweep, whatever EC2 does.

import assert from "node:assert/strict";
import type { SweepResult } from "../../../src/handler.ts";
import type { Connection } from "../../ec2/connection.ts";
import { checkSweepLog } from "../../helpers/answers.ts";
import { loggedAs } from "../../helpers/kept.ts";
import { type InvocationError, measuredUntil } from "../../helpers/lambda.ts";
import { aSweepCase, hasInLookUp, isName, type SweepCase, saysName, statusesOf, timesBeforeNow } from "./cases.ts";
import { count, type Lane, type Property, type Rules, type Tally } from "./lanes.ts";
import {
  checkDone,
  checkEnded,
  checkExcess,
  checkPages,
  checkTime,
  endedOf,
  isLive,
  isNewer,
  nextId,
  prepare,
  refusals,
  secondOf,
  type Timed,
  weatherWord,
  withNewer,
} from "./weather.ts";

export interface SeenSweep extends Timed {
  measured: InvocationError["invocation"];
  /** What it returned; nothing, where it threw. */
  result: SweepResult | undefined;
  isFair: boolean;
  /** The name by which a user is known, if it is one. */
  nameOf: (row: Connection) => string | undefined;
  /** Those that are not ending or ended, and whose users may not have any number of them. */
  active: Connection[];
  /** Those of which EC2 can say all that counts, though a fault may hide it. */
  certain: Connection[];
  /** Returns those of these connections whose users have enough newer ones among them. */
  excessIn: (connections: Connection[]) => Connection[];
  ended: Set<Connection>;
  /** Those that EC2 was asked to end, in the order in which it was asked first. */
  asked: Connection[];
  /** Those in an answer that was sent whole. */
  shown: Set<Connection>;
  /** Whether it returned, and nothing kept it from reading the whole list. */
  isComplete: boolean;
  /** Whether EC2 says that they are all of one device. */
  areDevicesTold: boolean;
}

/** How many terminations are under way at once. */
const AT_ONCE = 10;

const RULES: Rules<SeenSweep> = {
  "its log entry says the same as the outcome"({ measured: { log }, result }) {
    const { entry, level } = checkSweepLog(log);
    const { active, unnamed, terminated, errors } = entry;
    assert.equal(level, result ? "info" : "error");
    assert.equal(errors.length === 0, result !== undefined);
    if (result === undefined) return;
    const { "endpoint-id": _, ...returned } = result;
    assert.deepEqual({ active, unnamed, terminated }, returned);
  },

  "it is over one second before the time is": checkTime,

  "the log entry names what was ended, and nothing else": ({ measured: { log }, ended }) =>
    checkEnded(ended, checkSweepLog(log).entry),

  "each user's log entry says which connections were ended"({ measured: { log }, asked, nameOf }) {
    const { entry, users } = checkSweepLog(log);
    const userOf = (id: string) => asked.filter(({ connectionId }) => connectionId === id).map(nameOf);
    for (const [user, ids] of users) assert.deepEqual(new Set(ids.flatMap(userOf)), new Set([user]));
    assert.deepEqual(users.flatMap(([, ids]) => ids).toSorted(), entry.terminated.toSorted());
  },

  "the oldest are asked for first"({ asked }) {
    for (const [place, row] of asked.entries()) {
      const older = asked.filter((other) => isNewer(row, other)).length;
      assert.ok(place >= older - (AT_ONCE - 1), `asked for ${row.connectionId} before ${older - place} older ones`);
    }
  },

  "nothing is ended of which not all is known"({ ended, certain }) {
    for (const row of ended) assert.ok(certain.includes(row), `ended ${row.connectionId}, of which not all is known`);
  },

  "the newest connections of each user stay, as many as are allowed"(seen) {
    const { ended, certain, excessIn, areDevicesTold, nameOf } = seen;
    const due = excessIn(certain);
    if (areDevicesTold) return checkExcess(ended, due);
    // Which of them go depends on their devices; how many does not.
    for (const row of ended) {
      const isOfUser = (other: Connection) => nameOf(other) === nameOf(row);
      assert.ok([...ended].filter(isOfUser).length <= due.filter(isOfUser).length, `ended too many of ${nameOf(row)}`);
      assert.ok(
        certain.some((other) => isOfUser(other) && isNewer(other, row)),
        `ended ${nameOf(row)}'s newest`,
      );
    }
  },

  "a complete one leaves no user too many"({ isComplete, certain, excessIn, ended }) {
    if (isComplete) checkDone(ended, excessIn(certain), 0);
  },

  "where EC2 is well in time, a user whom it shows with too many is left with the newest"(seen) {
    const { isFair, played, certain, shown, excessIn, ended } = seen;
    const due = excessIn(certain.filter((row) => shown.has(row)));
    if (isFair) checkDone(ended, due, refusals(played).ofTerminations);
  },

  "it is complete where EC2 is well in time, and throws where it refuses"({ isFair, played, result }) {
    const { ofLookUp, ofTerminations } = refusals(played);
    if (isFair) assert.equal(result !== undefined, ofLookUp + ofTerminations === 0);
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

async function see(
  { swept: ec2, lambda, limit, identity, exempt, keepsNames }: Lane,
  oneCase: SweepCase,
  tally: Tally,
): Promise<SeenSweep> {
  const played = prepare(ec2, oneCase, tally);
  const { remaining, connections, faults, isFair } = oneCase;
  const toEstablishedAt = timesBeforeNow();
  const nameByRow = new Map<Connection, string | undefined>();
  for (const { name, keptName, kept, status, time } of connections) {
    const names = identity === "username" ? { username: name } : { commonName: name };
    const establishedAt = toEstablishedAt(time);
    const connectionId = `cvpn-connection-${nextId()}`;
    const postureComplianceStatuses = statusesOf(kept, keptName, identity);
    const fields = { ...names, status, establishedAt, postureComplianceStatuses };
    const row = ec2.addConnection({ connectionId, filterUsername: "x", commonName: "x", ...fields });
    const isKept = keepsNames && saysName(kept);
    const isContradicted = keepsNames && kept === "two names";
    if (isKept) nameByRow.set(row, loggedAs(keptName, identity));
    else if (isName(name) && !isContradicted) nameByRow.set(row, name);
    if (isKept && keptName !== name) count(tally, "sweep: a name is kept that EC2 does not list");
    if (isContradicted) count(tally, "sweep: two names are kept");
  }
  const nameOf = (row: Connection) => nameByRow.get(row);
  const isExempt = (row: Connection) => exempt.includes(nameOf(row) ?? "");
  const listed = ec2.connections.filter(({ status }) => status !== "terminating" && status !== "terminated");
  const active = listed.filter((row) => !isExempt(row));
  const certain = active.filter((row) => isLive(row) && nameOf(row) && secondOf(row) >= 0);
  const excessIn = (among: Connection[]) =>
    among.filter((row) =>
      withNewer(
        limit,
        among.filter((other) => nameOf(other) === nameOf(row)),
      ).includes(row),
    );
  count(tally, `sweep: ${weatherWord(oneCase, excessIn(certain))}`);
  if (active.some((row) => !nameOf(row))) count(tally, "sweep: a connection has no name");
  if (excessIn(listed.filter(isExempt)).length > 0) count(tally, "sweep: an exempt user has many");
  if (excessIn(certain).length > AT_ONCE) count(tally, "sweep: more to end than at once");
  const measured = await lambda.sweep({ sweep: ec2.endpointId }, { remaining }).catch(measuredUntil);
  const result = "response" in measured ? measured.response : undefined;
  const ended = endedOf(ec2);
  const askedFor = new Set(ec2.requests.map(({ params }) => params.get("ConnectionId")));

  count(tally, result ? "sweep: complete" : "sweep: incomplete");
  count(tally, "sweep: connections ended", ended.size);
  return {
    remaining,
    measured,
    isFair,
    played,
    result,
    nameOf,
    active,
    certain,
    excessIn,
    ended,
    asked: [...askedFor].flatMap((id) => ec2.connections.filter(({ connectionId }) => connectionId === id)),
    shown: ec2.shown,
    isComplete: result !== undefined && faults.DescribeClientVpnConnections.length === 0,
    areDevicesTold: identity === "common-name" || !hasInLookUp(oneCase, "without commonName"),
  };
}
