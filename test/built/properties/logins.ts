// What holds for every login, whatever EC2 does.

import assert from "node:assert/strict";
import type { Connection } from "../../ec2/connection.ts";
import { wildcardMatcher } from "../../ec2/filters.ts";
import type { LoopbackEc2 } from "../../ec2/server.ts";
import { checkUsualAnswer } from "../../helpers/answers.ts";
import { CONNECTION_ID, connectEvent } from "../../helpers/events.ts";
import type { Invocation } from "../../helpers/lambda.ts";
import { aLoginCase, hasInLookUp, type LoginCase, type Row, toEstablishedAt } from "./cases.ts";
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

export interface SeenLogin extends Timed {
  measured: Invocation;
  isFair: boolean;
  /** How many connections a user may have. */
  limit: number;
  /** The connections that EC2 has, with whose they are. */
  rows: { row: Connection; owner: Row["owner"] }[];
  ended: Set<Connection>;
  /** Those in an answer that was sent whole. */
  shown: Set<Connection>;
  isNewerThanOwn: (row: Connection) => boolean;
  /** Those that have to make room for the new one. */
  due: Connection[];
  /** Whether a row without a name may be anybody's, so that it is not known who is connected. */
  isUnsure: boolean;
  /** Whether EC2 tells of every connection whether it is over. */
  isStatusTold: boolean;
  /** Whether EC2 tells the id and the time of every connection: else it may not say which row is the new one's. */
  isOwnTold: boolean;
}

const RULES: Rules<SeenLogin> = {
  "the answer is valid, and one log entry says the same": ({ measured }) => void checkUsualAnswer(measured),

  "the answer is out one second before the time is over": checkTime,

  "nobody else's connection is ended"({ rows, ended }) {
    for (const { owner, row } of rows) {
      assert.ok(!ended.has(row) || isOfUser(owner), `ended ${row.connectionId} of ${owner}`);
    }
  },

  "nothing newer than the new connection is ended"({ ended, isNewerThanOwn, isOwnTold }) {
    if (!isOwnTold) return;
    for (const row of ended) {
      assert.ok(!isNewerThanOwn(row), `ended ${row.connectionId}, which is newer than the new connection`);
    }
  },

  "no more is ended than the limit requires"({ ended, due, isOwnTold, isStatusTold }) {
    if (isOwnTold && isStatusTold) checkExcess(ended, due);
  },

  "whoever is over the limit is ended, where EC2 is well in time"({ isFair, played, ended, due }) {
    const { ofLookUp, ofTerminations } = refusals(played);
    if (isFair && ofLookUp === 0) checkDone(ended, due, ofTerminations);
  },

  "nobody is ended where EC2 refuses the look-up"({ played, ended }) {
    if (refusals(played).ofLookUp > 0) assert.equal(ended.size, 0);
  },

  "a login is allowed where EC2 is well in time, and denied where it refuses"({ isFair, played, isUnsure, measured }) {
    const { ofLookUp, ofTerminations } = refusals(played);
    if (isFair) assert.equal(measured.response.allow, !isUnsure && ofLookUp + ofTerminations === 0);
  },

  "a yes leaves no older connection behind that was listed"({ measured, rows, shown, limit, isNewerThanOwn }) {
    if (!measured.response.allow) return;
    const older = rows.filter(({ owner, row }) => isOfUser(owner) && !isNewerThanOwn(row));
    const left = older.filter(({ row }) => shown.has(row) && isLive(row));
    assert.ok(left.length < limit, `allows while ${left.length} older connections that it was shown are still there`);
  },

  "the log entry names what was ended, and nothing else": ({ measured, ended }) =>
    checkEnded(ended, checkUsualAnswer(measured)),

  "a page that leads to itself is not asked for again": checkPages,
};

/** Logins with random faults over random connections. */
export const LOGINS: Property<LoginCase, SeenLogin> = { cases: aLoginCase, see, rules: RULES };

async function see({ ec2, lambda, limit, identity }: Lane, oneCase: LoginCase, tally: Tally): Promise<SeenLogin> {
  const played = prepare(ec2, oneCase, tally);
  const { name, remaining, isFair } = oneCase;
  const isOwn = ({ owner }: Row) => owner === "the new connection";
  // Of the new connection, there is one row at most.
  const listed = oneCase.connections.filter((row, i, all) => !isOwn(row) || i === all.findIndex(isOwn));
  const rows = listed.map((row) => ({ owner: row.owner, row: addConnection(ec2, identity, oneCase, row) }));
  const own = rows.find(({ owner }) => owner === "the new connection")?.row;
  const isNewerThanOwn = (row: Connection) =>
    own !== undefined && secondOf(own) >= 0 && row !== own && isNewer(row, own);
  const isUnsure = rows.some(({ owner, row }) => owner.endsWith("unnamed") && isLive(row) && mayBeAnybodys(row));
  const ofUser = rows.filter(({ owner, row }) => isOfUser(owner) && isLive(row)).map(({ row }) => row);
  const due = isUnsure ? [] : withNewer(limit - 1, ofUser).filter((row) => !isNewerThanOwn(row));
  count(tally, `login: ${weatherWord(oneCase, due)}`);
  if (isUnsure) count(tally, "login: a row may be anybody's");
  if (rows.some(({ row }) => isNewerThanOwn(row))) count(tally, "login: a newer connection is listed");
  const names = identity === "username" ? { username: name } : { username: "somebody", "common-name": name };
  const event = connectEvent({ ...names, "endpoint-id": ec2.endpointId });
  const measured = await lambda.invoke(event, { remaining });
  const ended = endedOf(ec2);

  count(tally, measured.response.allow ? "login: allowed" : "login: denied");
  count(tally, "login: connections ended", ended.size);
  return {
    remaining,
    measured,
    isFair,
    played,
    limit,
    rows,
    ended,
    shown: ec2.shown,
    isNewerThanOwn,
    due,
    isUnsure,
    isStatusTold: !hasInLookUp(oneCase, "without status", "odd-statuses"),
    isOwnTold: !hasInLookUp(oneCase, "without connectionId", "without connectionEstablishedTime"),
  };

  /** Without a name: EC2 has a filter for user names alone, and a name with a wildcard may be many users'. */
  function mayBeAnybodys({ filterUsername }: Connection): boolean {
    if (identity === "common-name") return true;
    const matches = oneCase.wildcards ? wildcardMatcher(name) : () => false;
    return /[*?]/.test(name) && (filterUsername === name || matches(filterUsername));
  }
}

function isOfUser(owner: Row["owner"]): boolean {
  return owner.startsWith("the user");
}

function addConnection(ec2: LoopbackEc2, identity: Lane["identity"], oneCase: LoginCase, row: Row): Connection {
  const { owner, other, status, time } = row;
  const connectionId = owner === "the new connection" ? CONNECTION_ID : `cvpn-connection-${nextId()}`;
  if (!owner.startsWith("another")) return addNamed(oneCase.name);
  // A stranger whose name is the user's but for backslashes cannot be told from the user where EC2 names neither.
  const named = owner === "another" && !hasInLookUp(oneCase, "without username");
  const bare = (name: string) => name.replaceAll("\\", "");
  return addNamed(other === oneCase.name || (!named && bare(other) === bare(oneCase.name)) ? "somebody else" : other);

  function addNamed(name: string): Connection {
    const shownName = owner.endsWith("unnamed") ? undefined : name;
    const byName = { username: shownName, filterUsername: name, commonName: "somebody" };
    const byCertificate = { username: "somebody", commonName: shownName };
    const names = identity === "username" ? byName : byCertificate;
    return ec2.addConnection({ connectionId, ...names, status, establishedAt: toEstablishedAt(time) });
  }
}
