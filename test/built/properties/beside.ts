// What holds for a login and a sweep in one process at the same time: whatever holds for each of them.

import fc from "fast-check";
import type { LoginCase, SweepCase } from "./cases.ts";
import type { Property, Rules } from "./lanes.ts";
import { LOGINS, type SeenLogin } from "./logins.ts";
import { type SeenSweep, SWEEPS } from "./sweeps.ts";

interface SeenBoth {
  login: SeenLogin;
  sweep: SeenSweep;
}

/** Logins and sweeps beside each other. What the one meets or does must not reach the other. */
export const BESIDE: Property<{ login: LoginCase; sweep: SweepCase }, SeenBoth> = {
  cases: fc.record({ login: LOGINS.cases, sweep: SWEEPS.cases }),
  async see(lane, { login, sweep }, tally) {
    const seen = [LOGINS.see(lane, login, tally), SWEEPS.see(lane, sweep, tally)] as const;
    // Both have to be over before the next case begins.
    await Promise.allSettled(seen);
    return { login: await seen[0], sweep: await seen[1] };
  },
  rules: {
    ...rulesOf("login", LOGINS.rules),
    ...rulesOf("sweep", SWEEPS.rules),
  },
};

function rulesOf<What extends keyof SeenBoth>(what: What, rules: Rules<SeenBoth[What]>): Rules<SeenBoth> {
  return Object.fromEntries(
    Object.entries(rules).map(([rule, check]) => [`${what}: ${rule}`, (seen: SeenBoth) => check(seen[what])]),
  );
}
