// What holds for every login, whatever EC2 does.

import assert from "node:assert/strict";
import type { Connection } from "../../ec2/connection.ts";
import type { LoopbackEc2 } from "../../ec2/server.ts";
import { checkUsualAnswer } from "../../helpers/answers.ts";
import { CONNECTION_ID, connectEvent } from "../../helpers/events.ts";
import type { Invocation } from "../../helpers/lambda.ts";
import { aLoginCase, hasInLookUp, type LoginCase, type Row, toEstablishedAt } from "./cases.ts";
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

interface SeenLogin extends Timed {
  measured: Invocation;
  /** How many connections a user may have. */
  limit: number;
  /** The connections that EC2 has, with whose they are. */
  rows: { row: Connection; owner: Row["owner"] }[];
  ended: Set<Connection>;
  /** Those in an answer that was sent whole. */
  shown: Set<Connection>;
  isNewerThanOwn: (row: Connection) => boolean;
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
  const sameToken = prepare(ec2, oneCase, tally);
  const { name, remaining } = oneCase;
  const isOwn = ({ owner }: Row) => owner === "the new connection";
  // Of the new connection, there is one row at most.
  const listed = oneCase.connections.filter((row, i, all) => !isOwn(row) || i === all.findIndex(isOwn));
  const rows = listed.map((row) => ({ owner: row.owner, row: addConnection(ec2, identity, oneCase, row) }));
  const own = rows.find(({ owner }) => owner === "the new connection")?.row;
  const isNewerThanOwn = (row: Connection) =>
    own !== undefined && secondOf(own) >= 0 && row !== own && isNewer(row, own);
  const names = identity === "username" ? { username: name } : { username: "somebody", "common-name": name };
  const event = connectEvent({ ...names, "endpoint-id": ec2.endpointId });
  const measured = await lambda.invoke(event, { remaining });
  const ended = endedOf(ec2);

  count(tally, measured.response.allow ? "allowed" : "denied");
  count(tally, "connections ended", ended.size);
  if (rows.some(({ row }) => isNewerThanOwn(row))) count(tally, "newer connections listed");
  return {
    remaining,
    measured,
    sameToken: sameToken(),
    limit,
    rows,
    ended,
    shown: ec2.shown,
    isNewerThanOwn,
    isOwnTold: !hasInLookUp(oneCase, "without connectionId", "without connectionEstablishedTime"),
  };
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
