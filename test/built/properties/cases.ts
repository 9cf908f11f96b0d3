// The random cases: connections, requests and what EC2 does meanwhile.

import fc from "fast-check";
import { type Action, clockSkewed, FAULTS, type Fault, THROTTLED } from "../../ec2/faults.ts";

/** What EC2 does. */
export interface Weather {
  wildcards: boolean;
  pageSize: number;
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

const OWNERS = ["the user", "the user, unnamed", "another", "another, unnamed", "the new connection"] as const;
type Owner = (typeof OWNERS)[number];

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

export const aLoginCase: fc.Arbitrary<LoginCase> = fc.record({
  ...weather,
  name: fc.oneof(fc.constantFrom(...USERNAMES), fc.string({ unit: "grapheme", minLength: 1, maxLength: 20 })),
  connections: fc.array(
    fc.record({ owner: fc.constantFrom(...OWNERS), other: fc.constantFrom(...OTHERS), status: aStatus, time: aTime }),
    { maxLength: 14 },
  ),
});

export const aSweepCase: fc.Arbitrary<SweepCase> = fc.record({
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

/** Whether one of these faults may befall a look-up. */
export function hasInLookUp({ faults }: Weather, ...any: Fault[]): boolean {
  return faults.DescribeClientVpnConnections.some(({ fault }) => fault !== "none" && any.includes(fault));
}

export function toEstablishedAt(time: Time): Date | string {
  return typeof time === "number" ? new Date(1_700_000_000_000 + time * 1_000) : time;
}
