// What holds whatever EC2 and Client VPN do, tried on the built handler with random requests, connections and faults.
// fast-check makes the cases from a seed, and shrinks one that fails to the smallest that still does.

import assert from "node:assert/strict";
import { isDeepStrictEqual } from "node:util";
import fc from "fast-check";
import type { Connection } from "../ec2/connection.ts";
import { type Action, clockSkewed, FAULTS, type Fault, THROTTLED } from "../ec2/faults.ts";
import { LoopbackEc2 } from "../ec2/server.ts";
import { expectValidAnswer } from "../helpers/answers.ts";
import { CONNECTION_ID, connectEvent } from "../helpers/events.ts";
import { DIST, Lambda } from "../helpers/lambda.ts";

export interface Options {
  /** How many cases. */
  runs: number;
  seed: number;
  /** How many are tried at once, each with an EC2 and a process of its own. */
  lanes: number;
}

/** How often each thing happened in all runs: a property that never met what it is about would hold for nothing. */
export type Tally = Record<string, number>;

/** What the log entry of a decision has to hold at least. */
interface Entry {
  decision: string;
  terminated: string[];
  notTerminated: string[];
}

/** What EC2 does. */
interface Weather {
  wildcards: boolean;
  pageSize: number;
  /** In ms. */
  remaining: number;
  faults: Record<Action, Script>;
}

interface Case extends Weather {
  name: string;
  connections: Row[];
}

interface SweepCase extends Weather {
  connections: { name: string | undefined; status: string; time: Time }[];
}

/** When a connection was established: a second, or what EC2 gives instead. */
type Time = number | "-" | "";

const OWNERS = ["the user", "the user, unnamed", "another", "another, unnamed", "the new connection"] as const;
type Owner = (typeof OWNERS)[number];

interface Row {
  owner: Owner;
  /** What another user is called. */
  other: string;
  status: string;
  time: Time;
}

/** What happens to one request after the other; when it is over, EC2 is well. */
type Script = { fault: Fault | "none"; times: number }[];

const USERNAMES = ["alice", "CORP\\alice", "*", "a?ice", "\\*", "Zoë O'Brien & <Sons>", " alice ", "007"];
const OTHERS = ["bob", "Alice", "alice2", "CORPalice", "CORP\\\\alice", "corp\\alice", "alic", "*", "\\"];

const ERRORS: Fault[] = [
  THROTTLED,
  THROTTLED,
  { status: 500, code: "InternalError", message: "An internal error has occurred" },
  { status: 502, code: "BadGateway", message: "" },
  { status: 503, code: "Unavailable", message: "The server is overloaded" },
  { status: 403, code: "UnauthorizedOperation", message: "User arn:aws:sts::123456789012:assumed-role/vpn may not" },
  { status: 401, code: "AuthFailure", message: "credentials not valid" },
  { status: 400, code: "InvalidParameterValue", message: "no" },
  clockSkewed(3_600_000),
  clockSkewed(-3_600_000),
];

/** Returns a script that fails now and then, or for ever. */
function scriptOf(action: Action): fc.Arbitrary<Script> {
  const fault = fc.oneof(fc.constant("none" as const), fc.constantFrom(...ERRORS), fc.constantFrom(...FAULTS[action]));
  const times = fc.constantFrom(1, 1, 1, 2, 3, Number.POSITIVE_INFINITY);
  return fc.array(fc.record({ fault, times }), { maxLength: 5 });
}

const weather = {
  wildcards: fc.boolean(),
  pageSize: fc.integer({ min: 1, max: 5 }),
  remaining: fc.constantFrom(1_150, 1_300, 1_600, 2_500),
  faults: fc.record({
    DescribeClientVpnConnections: scriptOf("DescribeClientVpnConnections"),
    TerminateClientVpnConnections: scriptOf("TerminateClientVpnConnections"),
  }),
};

const aTime: fc.Arbitrary<Time> = fc.constantFrom<Time>(0, 0, 0, 1, 1, 1, 2, 2, 3, "-", "");

const aStatus = fc.constantFrom("active", "active", "active", "failed-to-terminate", "terminating", "terminated");

const aCase: fc.Arbitrary<Case> = fc.record({
  ...weather,
  name: fc.oneof(fc.constantFrom(...USERNAMES), fc.string({ unit: "grapheme", minLength: 1, maxLength: 20 })),
  connections: fc.array(
    fc.record({ owner: fc.constantFrom(...OWNERS), other: fc.constantFrom(...OTHERS), status: aStatus, time: aTime }),
    { maxLength: 14 },
  ),
});

const aSweepCase: fc.Arbitrary<SweepCase> = fc.record({
  ...weather,
  connections: fc.array(
    fc.record({
      name: fc.constantFrom("alice", "alice", "alice", "alice", "Alice", "*", "__proto__", "", undefined),
      status: fc.oneof({ arbitrary: aStatus, weight: 9 }, { arbitrary: fc.constantFrom("suspended", ""), weight: 1 }),
      time: aTime,
    }),
    { maxLength: 14 },
  ),
});

/** Tries random faults over random connections. Rejects with the smallest case that fails, its seed and its path. */
export function tryFaults(options: Options, onRun?: () => void): Promise<Tally> {
  return inLanes(options, aCase, checkCase, onRun);
}

/** Gives EC2 its weather. Returns a function that tells how often a page's token has led to itself. */
function prepare(ec2: LoopbackEc2, { wildcards, pageSize, faults }: Weather, tally: Tally): () => number {
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

async function checkCase({ ec2, lambda, limit, identity, tally }: Lane, oneCase: Case): Promise<void> {
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
  const { response, log, durationMs, lateMs } = await lambda.invoke(event, { remaining });
  const entry = checkAnswer(response, log);
  assert.ok(durationMs - lateMs <= remaining - 1_000, `took ${durationMs} ms, where timers fired ${lateMs} ms late`);

  const ended = checkEnded(ec2, entry);
  for (const { owner, row } of rows.filter(({ row }) => ended.has(row))) {
    assert.ok(owner.startsWith("the user"), `ended ${row.connectionId} of ${owner}`);
    const isTold = !hasInLookUp(oneCase, "without connectionEstablishedTime");
    assert.ok(!isTold || !isNewerThanOwn(row), `ended ${row.connectionId}, which is newer than the new connection`);
  }
  if (response.allow) {
    const older = rows.filter(({ owner, row }) => owner.startsWith("the user") && !isNewerThanOwn(row));
    const left = older.filter(({ row }) => ec2.shown.has(row) && isLive(row));
    assert.ok(left.length < limit, `allows while ${left.length} older connections that it was shown are still there`);
  }
  // A call that a busy machine makes too late is made again.
  assert.ok(sameToken() <= 2 || lateMs > 20, `goes on after the same page token came ${sameToken()} times`);

  count(tally, response.allow ? "allowed" : "denied");
  count(tally, "connections ended", ended.size);
  if (rows.some(({ row }) => isNewerThanOwn(row))) count(tally, "newer connections listed");
}

/** Asserts that what was ended is what the log entry says, and returns it. */
function checkEnded(ec2: LoopbackEc2, { terminated, notTerminated }: Entry): Set<Connection> {
  const ended = ec2.connections.filter(({ endedAt }) => endedAt !== undefined);
  const ids = ended.map(({ connectionId }) => connectionId);
  // EC2 may have carried out what it did not confirm in time.
  const logged = new Set([...terminated, ...notTerminated]);
  for (const id of ids) assert.ok(logged.has(id), `ended ${id}, which is not in the log entry`);
  for (const id of terminated) assert.ok(ids.includes(id), `logs ${id} as ended, which it is not`);
  return new Set(ended);
}

/** The same for sweeps. */
export function trySweeps(options: Options, onRun?: () => void): Promise<Tally> {
  return inLanes(options, aSweepCase, checkSweep, onRun);
}

async function checkSweep({ ec2, lambda, limit, identity, tally }: Lane, oneCase: SweepCase): Promise<void> {
  const sameToken = prepare(ec2, oneCase, tally);
  const nameOf = ({ username, commonName }: Connection) => (identity === "username" ? username : commonName);
  for (const { name, status, time } of oneCase.connections) {
    const names = identity === "username" ? { username: name } : { commonName: name };
    const establishedAt = toEstablishedAt(time);
    const connectionId = `cvpn-connection-${nextId()}`;
    ec2.addConnection({ connectionId, filterUsername: "x", commonName: "x", ...names, status, establishedAt });
  }
  const listed = ec2.connections.filter(({ status }) => status !== "terminating" && status !== "terminated");
  // Those of which EC2 can say all that counts, though a fault may hide it.
  const certain = listed.filter((row) => isLive(row) && nameOf(row) && secondOf(row) >= 0);
  const startedAt = performance.now();
  const outcome = await lambda
    .sweep({ "endpoint-id": ec2.endpointId }, { remaining: oneCase.remaining })
    .catch((error: unknown) => error);
  assert.ok(performance.now() - startedAt < oneCase.remaining - 900, "took too long");
  const isComplete = !(outcome instanceof Error);
  const log: unknown = Object(outcome).log;
  assert.ok(Array.isArray(log) && log.length === 1 && log[0].level === (isComplete ? "info" : "error"));
  const entry: Entry & { active: number; unnamed: number } = JSON.parse(log[0].message[0]);
  const ended = checkEnded(ec2, entry);

  for (const row of ended) {
    const ofUser = certain.filter((other) => nameOf(other) === nameOf(row));
    assert.ok(ofUser.includes(row), `ended ${row.connectionId}, of which not all is known`);
    const newer = ofUser.filter((other) => other !== row && isNewer(other, row));
    assert.ok(newer.length >= limit, `ended ${row.connectionId}, too new`);
    assert.ok(ofUser.filter((other) => !ended.has(other)).length >= limit, `ended too many of ${nameOf(row)}`);
  }
  if (isComplete && oneCase.faults.DescribeClientVpnConnections.length === 0) {
    const left = certain.filter((row) => !ended.has(row));
    for (const row of left) {
      const ofUser = left.filter((other) => nameOf(other) === nameOf(row));
      assert.ok(ofUser.length <= limit, `says that it is complete, and leaves ${ofUser.length} of ${nameOf(row)}`);
    }
    assert.equal(entry.active, listed.length);
    assert.equal(entry.unnamed, listed.filter((row) => !nameOf(row)).length);
  }
  assert.ok(sameToken() <= 2, `goes on after the same page token came ${sameToken()} times`);
  count(tally, isComplete ? "complete" : "incomplete");
  count(tally, "connections ended", ended.size);
}

function toEstablishedAt(time: Time): Date | string {
  return typeof time === "number" ? new Date(1_700_000_000_000 + time * 1_000) : time;
}

/** In seconds, or -1 where EC2 does not tell it. */
function secondOf({ establishedAt }: Connection): number {
  return typeof establishedAt === "string" ? -1 : establishedAt.getTime() / 1_000;
}

function isNewer(a: Connection, b: Connection): boolean {
  return secondOf(a) === secondOf(b) ? a.connectionId < b.connectionId : secondOf(a) > secondOf(b);
}

function addConnection(ec2: LoopbackEc2, identity: Identity, oneCase: Case, row: Row): Connection {
  const { owner, other, status, time } = row;
  const connectionId = owner === "the new connection" ? CONNECTION_ID : `cvpn-connection-${nextId()}`;
  if (!owner.startsWith("another")) return enter(oneCase.name);
  // A stranger whose name is the user's but for backslashes cannot be told from the user where EC2 names neither.
  const named = owner === "another" && !hasInLookUp(oneCase, "without username");
  const bare = (name: string) => name.replaceAll("\\", "");
  return enter(other === oneCase.name || (!named && bare(other) === bare(oneCase.name)) ? "somebody else" : other);

  function enter(name: string): Connection {
    const shownName = owner.endsWith("unnamed") ? undefined : name;
    const byName = { username: shownName, filterUsername: name, commonName: "somebody" };
    const byCertificate = { username: "somebody", commonName: shownName };
    const names = identity === "username" ? byName : byCertificate;
    return ec2.addConnection({ connectionId, ...names, status, establishedAt: toEstablishedAt(time) });
  }
}

function* play(script: Script): Generator<Fault | undefined, undefined> {
  for (const { fault, times } of script) {
    for (let i = 0; i < times; i++) yield fault === "none" ? undefined : fault;
  }
}

function hasInLookUp({ faults }: Weather, ...any: Fault[]): boolean {
  return faults.DescribeClientVpnConnections.some(({ fault }) => fault !== "none" && any.includes(fault));
}

function isLive({ status }: Connection): boolean {
  return status === "active" || status === "failed-to-terminate";
}

function isAction(name: string): name is Action {
  return name in FAULTS;
}

const FIELDS = ["schema-version", "connection-id", "endpoint-id", "username", "common-name"];
const OTHER_FIELDS = ["groups", "platform", "public-ip", "aws-client-version", "__proto__", "not-yet-known"];

const WITH_BOTH_NAMES = connectEvent({ "common-name": "laptop" });

const anEvent: fc.Arbitrary<unknown> = fc.oneof(
  fc.jsonValue(),
  fc.record({ field: fc.constantFrom(...FIELDS, ...OTHER_FIELDS), value: fc.jsonValue() }).map(withField),
  fc.record({ field: fc.string(), value: fc.jsonValue() }).map(withField),
  fc.constantFrom(...FIELDS).map((field) => withField({ field, value: undefined })),
);

/** A valid request but for one field. JSON makes a field of `__proto__`, and none of undefined. */
function withField({ field, value }: { field: string; value: unknown }): unknown {
  const entries = Object.entries({ ...WITH_BOTH_NAMES, [field]: value });
  if (field === "__proto__") entries.push([field, value]);
  const json = entries.filter(([, v]) => v !== undefined).map(([k, v]) => `${JSON.stringify(k)}:${JSON.stringify(v)}`);
  return JSON.parse(`{${json.join(",")}}`);
}

/** Tries random events. Rejects with the smallest one that fails, its seed and its path. */
export function tryEvents(options: Options, onRun?: () => void): Promise<Tally> {
  return inLanes(options, anEvent, checkEvent, onRun);
}

async function checkEvent({ ec2, lambda, identity, tally }: Lane, event: unknown): Promise<void> {
  ec2.reset();
  const isValid = isValidRequest(event, identity);
  if (isValid) ec2.endpointId = String(Object(event)["endpoint-id"]);
  const { response, log } = await lambda.invoke(event, { remaining: 30_000 });
  const entry = checkAnswer(response, log);
  assert.deepEqual(entry.terminated, []);
  assert.equal(response.allow, isValid);
  const name = isValid ? (Object(event)[identity] ?? "") : "";
  assert.equal(ec2.requests.length, name === "" ? 0 : 1);
  count(tally, isValid ? "valid" : "invalid");
  if (isValid && !isDeepStrictEqual(event, WITH_BOTH_NAMES)) count(tally, "valid, but odd");
}

/** The rule of schema v3, in other words than the handler's. */
function isValidRequest(event: unknown, identity: Identity): boolean {
  if (event === null || typeof event !== "object" || Array.isArray(event)) return false;
  const fields = new Map<string, unknown>(Object.entries(event));
  const isText = (value: unknown) => typeof value === "string" && value.length > 0;
  const name = fields.get(identity);
  return (
    fields.get("schema-version") === "v3" &&
    isText(fields.get("connection-id")) &&
    isText(fields.get("endpoint-id")) &&
    (name === undefined || name === null || typeof name === "string")
  );
}

/** Asserts that an answer is valid and that one log entry of the right level says the same; returns the entry. */
function checkAnswer(response: { allow: boolean }, log: { level: string; message: unknown[] }[]): Entry {
  expectValidAnswer(response);
  assert.equal(log.length, 1);
  const [{ level, message } = { level: "", message: [] }] = log;
  assert.equal(level, response.allow ? "info" : "error");
  const entry: Entry = JSON.parse(String(message[0]));
  assert.equal(entry.decision, response.allow ? "allow" : "deny");
  return entry;
}

type Identity = "username" | "common-name";

interface Lane {
  ec2: LoopbackEc2;
  lambda: Lambda;
  /** How many connections a user may have. */
  limit: number;
  /** By which name a user is known. */
  identity: Identity;
  tally: Tally;
}

/** Divides the runs among the lanes, each with a seed of its own that follows from the given one. */
async function inLanes<T>(
  { runs, seed, lanes }: Options,
  arbitrary: fc.Arbitrary<T>,
  check: (lane: Lane, value: T) => Promise<void>,
  onRun: () => void = () => {},
): Promise<Tally> {
  const tally: Tally = {};
  const run = async (number: number) => {
    const limit = (number % 2) + 1;
    const identity = number % 4 < 2 ? "username" : "common-name";
    const ec2 = await new LoopbackEc2().start();
    const settings = { MAX_CONNECTIONS_PER_USER: String(limit), IDENTITY: identity };
    const lambda = await Lambda.start(`${DIST}index.cjs`, { ...ec2.env, ...settings });
    try {
      const property = fc.asyncProperty(arbitrary, async (value) => {
        onRun();
        await check({ ec2, lambda, limit, identity, tally }, value);
        assert.equal(lambda.output, "", "wrote something outside of its log entry");
      });
      await fc.assert(property, { numRuns: Math.ceil(runs / lanes), seed: seed + number, includeErrorInReport: true });
    } finally {
      await lambda.stop();
      await ec2.close();
    }
  };
  const outcomes = await Promise.allSettled(Array.from({ length: lanes }, (_, number) => run(number)));
  for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;
  return tally;
}

let lastId = 0;

function nextId(): string {
  return String(++lastId).padStart(17, "0");
}

function count(tally: Tally, what: string, by = 1): void {
  tally[what] = (tally[what] ?? 0) + by;
}
