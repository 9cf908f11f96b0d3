import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { EVENTS } from "./events.ts";
import { count, type Lane, type Property, startLanes, stopLanes, type Tally, tryCases } from "./lanes.ts";
import { LOGINS } from "./logins.ts";
import { SWEEPS } from "./sweeps.ts";

// npm run fuzz tries as many as you like, each time others. Here the seed is fixed, so that a change is what breaks them.
const SEED = 20_260_101;

let lanes: Lane[] = [];

beforeAll(async () => {
  lanes = await startLanes(4);
});

afterAll(() => stopLanes(lanes));

describe("a login, whatever EC2 does", () => {
  testRules(LOGINS, 400, ["allowed", "denied", "connections ended", "newer connections listed"], 25);
});

describe("a sweep, whatever EC2 does", () => {
  testRules(SWEEPS, 320, ["complete", "incomplete", "connections ended"], 25);
});

describe("a login, whatever the event is", () => {
  testRules(EVENTS, 3_000, ["invalid", "valid, but odd"], 300);
});

/** Divides the runs among the rules, each on cases of its own. */
function testRules<Case, Seen>(property: Property<Case, Seen>, runs: number, happens: string[], often: number): void {
  const met: Tally = {};
  const rules = Object.entries(property.rules);

  test.each(rules.map(([rule, check], i) => [rule, check, SEED + 100 * i] as const))(
    "%s",
    async (rule, check, seed) => {
      const options = { runs: Math.ceil(runs / rules.length), seed };
      const tally = await tryCases(lanes, { ...property, rules: { [rule]: check } }, options);
      for (const [what, times] of Object.entries(tally)) count(met, what, times);
    },
    60_000,
  );

  test("the cases met what the rules are about", () => {
    for (const what of happens) expect(met[what], what).toBeGreaterThan(often);
  });
}
