// What holds for every login, whatever EC2 does.

import assert from "node:assert/strict";
import type { Connection } from "../../ec2/connection.ts";
import { wildcardMatcher } from "../../ec2/filters.ts";
import { checkUsualAnswer } from "../../helpers/answers.ts";
import { CONNECTION_ID, connectEvent } from "../../helpers/events.ts";
import { keptAs } from "../../helpers/kept.ts";
import type { Invocation } from "../../helpers/lambda.ts";
import {
  aLoginCase,
  hasInLookUp,
  isName,
  type LoginCase,
  type Row,
  saysName,
  statusesOf,
  type Time,
  timesBeforeNow,
} from "./cases.ts";
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
  oldestOf,
  prepare,
  refusals,
  secondOf,
  type Timed,
  weatherWord,
} from "./weather.ts";

export interface SeenLogin extends Timed {
  measured: Invocation;
  isFair: boolean;
  /** How many connections a user may have. */
  limit: number;
  /** The connections that EC2 has, with whose they are for all that can be known, and whether no fault hides it. */
  rows: { row: Connection; owner: Row["owner"]; isTold: boolean }[];
  /** What the answer is to keep where it allows the login. */
  toKeep: string[];
  /** Where names are kept, how many live connections have none, without the new one. */
  unnamed: number | undefined;
  ended: Set<Connection>;
  /** How often EC2 was called. */
  calls: number;
  /** Those in an answer that was sent whole. */
  shown: Set<Connection>;
  isNewerThanOwn: (row: Connection) => boolean;
  /** Those that have to make room for the new one. */
  due: Connection[];
  /** The answer, where it needs no look at EC2. */
  unasked: boolean | undefined;
  /** Whether a user who is looked up has too many new connections. */
  isTooOften: boolean;
  /** Whether a row without a name may be anybody's, so that it is not known who is connected. */
  isUnsure: boolean;
  /** Whether EC2 tells of every connection whether it is over, and whose device it is. */
  isRestTold: boolean;
  /** Whether EC2 tells the id and the time of every connection: else it may not say which row is the new one's. */
  isOwnTold: boolean;
}

const RULES: Rules<SeenLogin> = {
  "the answer is valid, and one log entry says the same": ({ measured }) => void checkUsualAnswer(measured),

  "the answer is out one second before the time is over": checkTime,

  "a yes has the name where names are kept, and no other answer has it"({ measured: { response }, toKeep }) {
    assert.deepEqual(response["posture-compliance-statuses"], response.allow ? toKeep : []);
  },

  "who is allowed beside connections without a name is told apart, and they are counted"(seen) {
    const { isFair, played, measured, unasked, unnamed, due } = seen;
    const { unnamed: logged, reason } = checkUsualAnswer(measured);
    const isLookedUp = unasked === undefined && refusals(played).ofLookUp === 0;
    if (unnamed === undefined || !isLookedUp) assert.equal(logged, undefined);
    else if (isFair) assert.equal(logged, unnamed);
    if (!isFair || !isLookedUp || !measured.response.allow) return;
    const isPassedBy = due.length === 0 && Number(unnamed) > 0;
    assert.equal(reason === "no older connections among those with a name", isPassedBy);
  },

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

  "no more is ended than the limit requires, and of the same device first"({ ended, due, isOwnTold, isRestTold }) {
    if (isOwnTold && isRestTold) checkExcess(ended, due);
  },

  "whoever is over the limit is ended, where EC2 is well in time"({ isFair, played, ended, due }) {
    const { ofLookUp, ofTerminations } = refusals(played);
    if (isFair && ofLookUp === 0) checkDone(ended, due, ofTerminations);
  },

  "nobody is ended where EC2 refuses the look-up"({ played, ended }) {
    if (refusals(played).ofLookUp > 0) assert.equal(ended.size, 0);
  },

  "a login is allowed where EC2 is well in time, and denied where it refuses"(seen) {
    const { isFair, played, isUnsure, isTooOften, unasked, measured } = seen;
    const { ofLookUp, ofTerminations } = refusals(played);
    const isUsual = !isUnsure && !isTooOften && ofLookUp + ofTerminations === 0;
    if (isFair || unasked !== undefined) assert.equal(measured.response.allow, unasked ?? isUsual);
  },

  "EC2 is not asked about exempt users, and not about nobody"({ unasked, calls }) {
    assert.ok(unasked === undefined || calls === 0);
  },

  "whoever connects too often is told so, and nobody else is"({ isFair, played, isUnsure, isTooOften, measured }) {
    const isSaid = /too many/.test(checkUsualAnswer(measured).reason);
    assert.ok(isTooOften || !isSaid);
    if (isFair) assert.equal(isSaid, isTooOften && !isUnsure && refusals(played).ofLookUp === 0);
  },

  "a yes leaves no older connection behind that was listed"({ measured, rows, shown, limit, isNewerThanOwn }) {
    if (!measured.response.allow) return;
    const older = rows.filter(({ owner, row }) => isOfUser(owner) && !isNewerThanOwn(row));
    const left = older.filter(({ row, isTold }) => isTold && shown.has(row) && isLive(row));
    assert.ok(left.length < limit, `allows while ${left.length} older connections that it was shown are still there`);
  },

  "the log entry names what was ended, and nothing else": ({ measured, ended }) =>
    checkEnded(ended, checkUsualAnswer(measured)),

  "a page that leads to itself is not asked for again": checkPages,
};

/** Logins with random faults over random connections. */
export const LOGINS: Property<LoginCase, SeenLogin> = { cases: aLoginCase, see, rules: RULES };

async function see(lane: Lane, oneCase: LoginCase, tally: Tally): Promise<SeenLogin> {
  const { ec2, lambda, limit, identity, exempt, keepsNames, checksLogins } = lane;
  const played = prepare(ec2, oneCase, tally);
  const { name, device, remaining, isFair, crowd } = oneCase;
  const toEstablishedAt = timesBeforeNow();
  const isListTold = !hasInLookUp(oneCase, identity === "username" ? "without username" : "without commonName");
  const add = (row: Row) => ({
    owner: keepsNames ? ownerByKept(row) : row.owner,
    row: addConnection(lane, oneCase, row, toEstablishedAt),
    isTold: !keepsNames || saysName(row.kept) || isListTold,
  });
  const isOwn = ({ owner }: Pick<Row, "owner">) => owner === "the new connection";
  // Of the new connection, there is one row at most.
  const rows = oneCase.connections.filter((row, i, all) => !isOwn(row) || i === all.findIndex(isOwn)).map(add);
  const own = rows.find(isOwn)?.row;
  const tooMany = limit + 6;
  const [minuteAgo, tenSecondsAgo] = [60, 10].map((ago) => secondOf({ establishedAt: toEstablishedAt(ago) }));
  const isEndTold = !hasInLookUp(oneCase, "without status", "odd-statuses");
  const isEnded = ({ status }: Connection) => isEndTold && /^terminat(ing|ed)$/.test(status);
  const isNew = (row: Connection) => secondOf(row) >= Number(isEnded(row) ? tenSecondsAgo : minuteAgo);
  const isCounted = ({ owner, row }: SeenLogin["rows"][number]) =>
    owner === "the user, unnamed" ? !mayBeAnybodys(row) : owner === "the user" || row === own;
  const newOnes = () => rows.filter((one) => isCounted(one) && isNew(one.row));
  while (crowd && newOnes().length < tooMany + crowd.beyond) rows.push(add(crowd.row));
  if (crowd) rows.push(add({ ...crowd.row, owner: "another" }));

  const unasked = exempt.includes(name) || !checksLogins || (isName(name) ? undefined : identity === "username");
  const isTooOften = unasked === undefined && newOnes().length >= tooMany;
  const unnamed = rows.filter(({ owner, row }) => owner.endsWith("unnamed") && isLive(row));
  const isUnsure = !keepsNames && unnamed.some(({ row }) => mayBeAnybodys(row));
  const isNewerThanOwn = (row: Connection) =>
    own !== undefined && secondOf(own) >= 0 && row !== own && isNewer(row, own);
  const ofUser = rows.filter(({ owner, row }) => isOfUser(owner) && isLive(row)).map(({ row }) => row);
  const isDevices = ({ commonName }: Connection) => identity === "username" && isName(device) && commonName === device;
  const due = unasked !== undefined || isUnsure || isTooOften ? [] : dueOf(isDevices);
  count(tally, `login: ${weatherWord(oneCase, due)}`);
  if (exempt.includes(name)) count(tally, "login: an exempt user");
  else if (!checksLogins) count(tally, "login: noted");
  else if (unasked !== undefined) count(tally, "login: without a name");
  else if (isUnsure) count(tally, "login: a row may be anybody's");
  else if (isTooOften) count(tally, "login: too many new ones");
  else if (newOnes().length === tooMany - 1) count(tally, "login: almost too many new ones");
  if (due.some((row) => !dueOf(() => false).includes(row))) count(tally, "login: the device makes a difference");
  if (rows.some(({ row }) => isNewerThanOwn(row))) count(tally, "login: a newer connection is listed");
  if (keepsNames && unasked === undefined) {
    if (unnamed.length > 0) count(tally, "login: connections without a name are passed by");
    if (due.some((row) => row.postureComplianceStatuses && ![row.username, row.commonName].includes(name))) {
      count(tally, "login: a kept name makes a difference");
    }
  }
  const [username, commonName] = identity === "username" ? [name, device] : ["somebody", name];
  const event = connectEvent({ username, "common-name": commonName, "endpoint-id": ec2.endpointId });
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
    toKeep: keepsNames && isName(name) ? [keptAs(name, identity)] : [],
    unnamed: keepsNames ? unnamed.length : undefined,
    ended,
    // A request of the last case may come late.
    calls: ec2.requests.filter(({ params }) => params.get("ClientVpnEndpointId") === ec2.endpointId).length,
    shown: ec2.shown,
    isNewerThanOwn,
    due,
    unasked,
    isTooOften,
    isUnsure,
    isRestTold: !hasInLookUp(oneCase, "without status", "odd-statuses", "without commonName"),
    isOwnTold: !hasInLookUp(oneCase, "without connectionId", "without connectionEstablishedTime"),
  };

  /** One after the other: what is newer than the new one stays, the device's go first, and of those the oldest. */
  function dueOf(isFirstToGo: (row: Connection) => boolean): Connection[] {
    const left = new Set(ofUser);
    while (left.size >= limit) {
      const older = [...left].filter((row) => !isNewerThanOwn(row));
      const next = oldestOf(older.filter(isFirstToGo)) ?? oldestOf(older);
      if (next === undefined) break;
      left.delete(next);
    }
    return ofUser.filter((row) => !left.has(row));
  }

  /** Without a name: EC2 has a filter for user names alone, and a name with a wildcard may be many users'. */
  function mayBeAnybodys({ filterUsername }: Connection): boolean {
    if (identity === "common-name") return true;
    const matches = oneCase.wildcards ? wildcardMatcher(name) : () => false;
    return /[*?]/.test(name) && (filterUsername === name || matches(filterUsername));
  }
}

/** Whose a connection is where names are kept: as its statuses say, else as EC2 lists it, and else nobody's. */
function ownerByKept({ owner, kept }: Row): Row["owner"] {
  if (owner === "the new connection") return owner;
  const [whose] = owner.split(", ");
  const isNamed = saysName(kept) || (kept !== "two names" && whose === owner);
  if (!isNamed) return "another, unnamed";
  return whose === "the user" ? whose : "another";
}

function isOfUser(owner: Row["owner"]): boolean {
  return owner.startsWith("the user");
}

function addConnection(lane: Lane, oneCase: LoginCase, row: Row, timeOf: (time: Time) => Date | string) {
  const { ec2, identity, keepsNames } = lane;
  const { owner, other, blank, device, status, time } = row;
  // The row of the new connection has the answer's statuses, or none yet.
  const kept = owner === "the new connection" && row.kept === "two names" ? "nothing" : row.kept;
  const isMisspelled = keepsNames && saysName(kept) && row.isMisspelled;
  const connectionId = owner === "the new connection" ? CONNECTION_ID : `cvpn-connection-${nextId()}`;
  if (!owner.startsWith("another")) return addNamed(oneCase.name);
  // A stranger whose name is the user's but for backslashes cannot be told from the user where EC2 names neither.
  const named = owner === "another" && !hasInLookUp(oneCase, "without username");
  const bare = (name: string) => name.replaceAll("\\", "");
  return addNamed(other === oneCase.name || (!named && bare(other) === bare(oneCase.name)) ? "somebody else" : other);

  function addNamed(name: string): Connection {
    const spelling = isMisspelled ? (name === oneCase.name ? other : oneCase.name) : name;
    const shownName = owner.endsWith("unnamed") ? blank : spelling;
    const postureComplianceStatuses = isName(name) ? statusesOf(kept, name, identity) : undefined;
    const byName = { username: shownName, filterUsername: name, commonName: device };
    const byCertificate = { username: "somebody", commonName: shownName };
    const names = identity === "username" ? byName : byCertificate;
    const establishedAt = timeOf(time);
    return ec2.addConnection({ connectionId, ...names, status, establishedAt, postureComplianceStatuses });
  }
}
