// The random cases: connections, requests and what EC2 does meanwhile.

import fc from "fast-check";
import { type Action, clockSkewed, FAULTS, type Fault, REFUSED, THROTTLED } from "../../ec2/faults.ts";
import { type Identity, keptAs } from "../../helpers/kept.ts";

/** What EC2 does. */
export interface Weather {
  wildcards: boolean;
  pageSize: number;
  /** Whether all that goes wrong passes or is refused at once, and the time is enough: then the work has to be done. */
  isFair: boolean;
  /** In ms. */
  remaining: number;
  faults: Record<Action, Script>;
}

export interface LoginCase extends Weather {
  name: string;
  /** The certificate's name in the request, where users go by their user names. */
  device: string | undefined;
  connections: Row[];
  /** So many more of the user's rows that this many are beyond what may be new, and one of another's. */
  crowd: { beyond: number; row: Row } | undefined;
}

export interface SweepCase extends Weather {
  connections: { name: string | undefined; keptName: string; kept: Kept; status: string; time: Time }[];
}

/** How many seconds ago a connection was established, or what EC2 gives instead. */
export type Time = number | "-" | "";

type Owner = "the user" | "the user, unnamed" | "another" | "another, unnamed" | "the new connection";

export interface Row {
  owner: Owner;
  /** What another user is called. */
  other: string;
  /** What EC2 writes where it has no name. */
  blank: string | undefined;
  device: string | undefined;
  status: string;
  time: Time;
  kept: Kept;
  /** Whether EC2 lists another user's name than the kept one. */
  isMisspelled: boolean;
}

/** What the statuses of a connection say. */
export type Kept = (typeof KEPT)[number];

const KEPT = [
  "a name",
  "a name among others",
  "nothing",
  "somebody else's",
  "two names",
  "another kind",
  "odd",
] as const;

/** What happens to one request after the other; when it is over, EC2 is well. */
export type Script = { fault: Fault | "none"; times: number }[];

const USERNAMES = [
  "alice",
  "CORP\\alice",
  "*",
  "a?ice",
  "\\*",
  "Zoë O'Brien & <Sons>",
  " alice ",
  "007",
  "007",
  "-",
  "N/A",
  "NA",
  "李小龍".repeat(85),
];
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

/** What EC2 answers or does at first, and then no more. */
const PASSING: Fault[] = [
  "reset",
  { status: 500, code: "InternalError", message: "An internal error has occurred" },
  { status: 503, code: "", message: "", body: "<html><p>Try later</html>" },
];

/** The same, but whoever meets it waits for seconds: a few of them are enough. */
const THROTTLES: Fault[] = [
  THROTTLED,
  { status: 400, code: "Throttling", message: "Rate exceeded" },
  { ...THROTTLED, status: 400 },
];

const isThrottle = (fault: Fault | "none") => fault !== "none" && THROTTLES.includes(fault);

/** What changes nothing of an answer that counts, or comes once more if it is asked for again. */
const HARMLESS: Record<Action, Fault[]> = {
  DescribeClientVpnConnections: ["truncate", "duplicates", "without clientVpnEndpointId"],
  TerminateClientVpnConnections: ["no-statuses"],
};

const NOT_DONE: Fault[] = [REFUSED, "not-xml", "empty", "web-page", "error-in-200", "other-document"];

/** What does nothing, and would do nothing if it were asked for again. */
const REFUSALS: Record<Action, Fault[]> = {
  DescribeClientVpnConnections: NOT_DONE,
  TerminateClientVpnConnections: [...NOT_DONE, "another-endpoint", "failed-to-terminate", "odd-status"],
};

/** Returns a script of what passes, and now and then of a refusal. */
function fairScriptOf(action: Action): fc.Arbitrary<Script> {
  const once = fc.constant(1);
  const well = fc.record({ fault: fc.constant("none" as const), times: fc.integer({ min: 1, max: 4 }) });
  const quick = fc.constantFrom(...PASSING, ...HARMLESS[action]);
  const slow = fc.constantFrom(...THROTTLES);
  const passing = fc.record({
    fault: fc.oneof({ arbitrary: quick, weight: 7 }, { arbitrary: slow, weight: 1 }),
    times: once,
  });
  const refusal = fc.record({ fault: fc.constantFrom(...REFUSALS[action]), times: once });
  // After more of them, a connection that had just ended would not be new any more.
  const isQuick = (script: Script) => script.filter(({ fault }) => isThrottle(fault)).length <= 1;
  return fc.oneof(
    { arbitrary: fc.array<Script[number]>(fc.oneof(well, passing), { maxLength: 3 }).filter(isQuick), weight: 2 },
    { arbitrary: fc.tuple(well, refusal), weight: 1 },
  );
}

/** Returns a script that fails now and then, or for ever. */
function roughScriptOf(action: Action): fc.Arbitrary<Script> {
  const fault = fc.oneof(fc.constant("none" as const), fc.constantFrom(...ERRORS), fc.constantFrom(...FAULTS[action]));
  const times = fc.constantFrom(1, 1, 1, 2, 3, Number.POSITIVE_INFINITY);
  return fc.array(fc.record({ fault, times }), { maxLength: 5 });
}

function scriptsOf(scriptOf: (action: Action) => fc.Arbitrary<Script>) {
  return fc.record({
    DescribeClientVpnConnections: scriptOf("DescribeClientVpnConnections"),
    TerminateClientVpnConnections: scriptOf("TerminateClientVpnConnections"),
  });
}

const aWeather: fc.Arbitrary<Weather> = fc
  .tuple(
    fc.record({ wildcards: fc.boolean(), pageSize: fc.integer({ min: 2, max: 8 }) }),
    fc.oneof(
      {
        arbitrary: fc.record({
          isFair: fc.constant(true),
          remaining: fc.constant(30_000),
          faults: scriptsOf(fairScriptOf),
        }),
        weight: 3,
      },
      {
        arbitrary: fc.record({
          isFair: fc.constant(false),
          remaining: fc.constantFrom(1_150, 1_300, 1_600, 2_500),
          faults: scriptsOf(roughScriptOf),
        }),
        weight: 2,
      },
    ),
  )
  .map(([ec2, sky]) => ({ ...ec2, ...sky }));

function inAnyWeather<T>(what: fc.Arbitrary<T>): fc.Arbitrary<Weather & T> {
  return fc.tuple(aWeather, what).map(([weather, rest]) => ({ ...weather, ...rest }));
}

// What is near a limit of time ago gets older while the case lasts, and what is not stays within it.
const aTime: fc.Arbitrary<Time> = fc.constantFrom<Time>(63, 63, 63, 62, 62, 62, 61, 61, 20, 20, 1, "-", "");

const aStatus = fc.constantFrom("active", "active", "active", "failed-to-terminate", "terminating", "terminated");

// Many rows without a name would leave few logins that can be allowed.
const anOwner: fc.Arbitrary<Owner> = fc.oneof(
  { arbitrary: fc.constant("the user"), weight: 7 },
  { arbitrary: fc.constantFrom("another", "another", "the new connection"), weight: 3 },
  { arbitrary: fc.constantFrom("the user, unnamed", "another, unnamed"), weight: 1 },
);

const aDevice = fc.constantFrom("laptop", "laptop", "laptop", "phone", "phone", "-", "-", "N/A", "NA", undefined);

const aKept = fc.oneof({ arbitrary: fc.constant("a name" as const), weight: 3 }, fc.constantFrom(...KEPT));

const aRow = {
  owner: anOwner,
  other: fc.constantFrom(...OTHERS),
  blank: fc.constantFrom(undefined, "-", "N/A", "NA"),
  device: aDevice,
  status: aStatus,
  time: aTime,
  kept: aKept,
  isMisspelled: fc.boolean(),
};

const aNewRow = fc.record({
  ...aRow,
  owner: fc.constant("the user" as const),
  kept: fc.constantFrom("a name" as const, "nothing" as const),
  time: fc.constant(1),
});

const aLogin = fc.record({
  name: fc.oneof(fc.constantFrom(...USERNAMES), fc.string({ unit: "grapheme", minLength: 1, maxLength: 20 })),
  device: fc.oneof({ arbitrary: fc.constant("laptop"), weight: 3 }, { arbitrary: aDevice, weight: 1 }),
  connections: fc.array(fc.record(aRow), { maxLength: 14, size: "max" }),
  crowd: fc.oneof(
    { arbitrary: fc.constant(undefined), weight: 3 },
    { arbitrary: fc.record({ beyond: fc.constantFrom(-1, -1, 0, 0, 1), row: aNewRow }), weight: 1 },
  ),
});

const aSwept = fc.record({
  name: fc.oneof(
    fc.constantFrom("alice", "alice", "Alice"),
    fc.constantFrom("alice", "*", "__proto__", "", undefined, "-", "N/A", "NA"),
  ),
  keptName: fc.constantFrom("alice", "alice", "Alice", "007", "*", "a".repeat(255)),
  kept: aKept,
  status: fc.oneof({ arbitrary: aStatus, weight: 9 }, { arbitrary: fc.constantFrom("suspended", ""), weight: 1 }),
  time: aTime,
});

const aSureOne = fc.record({
  name: fc.constantFrom("alice", "alice", "alice", "Alice"),
  keptName: fc.constantFrom("alice", "Zoë"),
  kept: fc.constantFrom("a name" as const, "nothing" as const),
  status: fc.constant("active"),
  time: fc.integer({ min: 61, max: 99 }),
});

const aSweep = fc.record({
  connections: fc.oneof(
    { arbitrary: fc.array(aSwept, { maxLength: 14, size: "max" }), weight: 5 },
    // More to end than it does at once.
    { arbitrary: fc.array(aSureOne, { minLength: 17, maxLength: 22 }), weight: 1 },
  ),
});

export const aLoginCase: fc.Arbitrary<LoginCase> = inAnyWeather(aLogin);

export const aSweepCase: fc.Arbitrary<SweepCase> = inAnyWeather(aSweep);

/** Whether one of these faults may befall a look-up. */
export function hasInLookUp({ faults }: Weather, ...any: Fault[]): boolean {
  return faults.DescribeClientVpnConnections.some(({ fault }) => fault !== "none" && any.includes(fault));
}

/** How many of these are refusals. */
export function refusalsIn(played: Fault[], action: Action): number {
  return played.filter((fault) => REFUSALS[action].includes(fault)).length;
}

/** Whether this says who it is: EC2 and VPN clients also write words for none. */
export function isName(text: string | undefined): text is string {
  return text !== undefined && !["", "-", "N/A", "NA"].includes(text);
}

/** Whether the statuses of a connection say whose it is. */
export function saysName(kept: Kept): boolean {
  return kept === "a name" || kept === "a name among others";
}

/** Returns the statuses of such a connection, whose user's name is this one. */
export function statusesOf(kept: Kept, name: string, identity: Identity): string[] | undefined {
  const status = keptAs(name, identity);
  const prefix = keptAs("", identity);
  const statuses: Record<Kept, string[] | undefined> = {
    "a name": [status],
    "a name among others": ["compliant", status, "unknown", status],
    nothing: name.length % 2 === 0 ? undefined : [],
    "somebody else's": ["compliant", "alice", name],
    "two names": [status, keptAs(`${name}2`, identity)],
    "another kind": [keptAs(name, identity === "username" ? "common-name" : "username")],
    odd: [`${prefix}%zz`, `${prefix}%e0%a4`, `${prefix}%C3%AB`, `${prefix}%61lice`, `${prefix}a b`, ` ${status}`],
  };
  return statuses[kept];
}

/** Returns what makes a time of each of a case's times: as one second for all of them, those of the same are the same. */
export function timesBeforeNow(): (time: Time) => Date | string {
  const now = Math.floor(Date.now() / 1_000);
  return (time) => (typeof time === "number" ? new Date((now - time) * 1_000) : time);
}
