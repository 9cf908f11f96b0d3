// The random cases: connections, requests and what EC2 does meanwhile.

import fc from "fast-check";
import { type Action, clockSkewed, FAULTS, type Fault, REFUSED, THROTTLED } from "../../ec2/faults.ts";

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
  connections: Row[];
}

export interface SweepCase extends Weather {
  connections: { name: string | undefined; status: string; time: Time }[];
}

/** When a connection was established: a second, or what EC2 gives instead. */
export type Time = number | "-" | "";

type Owner = "the user" | "the user, unnamed" | "another" | "another, unnamed" | "the new connection";

export interface Row {
  owner: Owner;
  /** What another user is called. */
  other: string;
  status: string;
  time: Time;
}

/** What happens to one request after the other; when it is over, EC2 is well. */
export type Script = { fault: Fault | "none"; times: number }[];

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

/** What EC2 answers or does at first, and then no more. */
const PASSING: Fault[] = [
  "reset",
  THROTTLED,
  { status: 400, code: "Throttling", message: "Rate exceeded" },
  { ...THROTTLED, status: 400 },
  { status: 500, code: "InternalError", message: "An internal error has occurred" },
  { status: 503, code: "", message: "", body: "<html><p>Try later</html>" },
];

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

/** Returns a script of what passes within two seconds, and now and then of a refusal. */
function fairScriptOf(action: Action): fc.Arbitrary<Script> {
  const once = fc.constant(1);
  const well = fc.record({ fault: fc.constant("none" as const), times: fc.integer({ min: 1, max: 4 }) });
  const passing = fc.record({ fault: fc.constantFrom(...PASSING, ...HARMLESS[action]), times: once });
  const refusal = fc.record({ fault: fc.constantFrom(...REFUSALS[action]), times: once });
  return fc.oneof(
    { arbitrary: fc.array(fc.oneof(well, passing), { maxLength: 3 }), weight: 2 },
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
    fc.record({ wildcards: fc.boolean(), pageSize: fc.integer({ min: 1, max: 5 }) }),
    fc.oneof(
      fc.record({ isFair: fc.constant(true), remaining: fc.constant(30_000), faults: scriptsOf(fairScriptOf) }),
      fc.record({
        isFair: fc.constant(false),
        remaining: fc.constantFrom(1_150, 1_300, 1_600, 2_500),
        faults: scriptsOf(roughScriptOf),
      }),
    ),
  )
  .map(([ec2, sky]) => ({ ...ec2, ...sky }));

function inAnyWeather<T>(what: fc.Arbitrary<T>): fc.Arbitrary<Weather & T> {
  return fc.tuple(aWeather, what).map(([weather, rest]) => ({ ...weather, ...rest }));
}

const aTime: fc.Arbitrary<Time> = fc.constantFrom<Time>(0, 0, 0, 1, 1, 1, 2, 2, 3, "-", "");

const aStatus = fc.constantFrom("active", "active", "active", "failed-to-terminate", "terminating", "terminated");

// Many rows without a name would leave few logins that can be allowed.
const anOwner: fc.Arbitrary<Owner> = fc.oneof(
  { arbitrary: fc.constant("the user"), weight: 6 },
  { arbitrary: fc.constantFrom("another", "the new connection"), weight: 4 },
  { arbitrary: fc.constantFrom("the user, unnamed", "another, unnamed"), weight: 1 },
);

const aLogin = fc.record({
  name: fc.oneof(fc.constantFrom(...USERNAMES), fc.string({ unit: "grapheme", minLength: 1, maxLength: 20 })),
  connections: fc.array(
    fc.record({ owner: anOwner, other: fc.constantFrom(...OTHERS), status: aStatus, time: aTime }),
    { maxLength: 14, size: "max" },
  ),
});

const aSweep = fc.record({
  connections: fc.array(
    fc.record({
      name: fc.oneof(
        { arbitrary: fc.constant("alice"), weight: 6 },
        { arbitrary: fc.constantFrom("Alice", "*", "__proto__", "", undefined), weight: 5 },
      ),
      status: fc.oneof({ arbitrary: aStatus, weight: 9 }, { arbitrary: fc.constantFrom("suspended", ""), weight: 1 }),
      time: aTime,
    }),
    { maxLength: 14, size: "max" },
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

export function toEstablishedAt(time: Time): Date | string {
  return typeof time === "number" ? new Date(1_700_000_000_000 + time * 1_000) : time;
}
