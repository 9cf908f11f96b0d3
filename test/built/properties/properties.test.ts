import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { BESIDE } from "./beside.ts";
import { EVENTS } from "./events.ts";
import { type Lane, type Property, startLanes, stopLanes, type Tally, tryCases } from "./lanes.ts";

// npm run fuzz tries as many as you like, each time others. Here the seed is fixed, so that a change is what breaks them.
const SEED = 20_260_103;

let lanes: Lane[] = [];

beforeAll(async () => {
  lanes = await startLanes(8);
});

afterAll(() => stopLanes(lanes));

describe("a login and a sweep beside each other in one process, whatever EC2 does", () => {
  testRules(
    BESIDE,
    300,
    [
      "login: fair weather, somebody to end",
      "login: fair weather, nobody to end",
      "login: rough weather",
      "login: a newer connection is listed",
      "login: a row may be anybody's",
      "login: an exempt user",
      "login: without a name",
      "login: noted",
      "login: connections without a name are passed by",
      "login: a kept name makes a difference",
      "login: too many new ones",
      "login: almost too many new ones",
      "login: the device makes a difference",
      "sweep: fair weather, somebody to end",
      "sweep: fair weather, nobody to end",
      "sweep: rough weather",
      "sweep: a connection has no name",
      "sweep: an exempt user has many",
      "sweep: more to end than at once",
      "sweep: a name is kept that EC2 does not list",
      "sweep: two names are kept",
    ],
    8,
  );
});

describe("a login, whatever the event is", () => {
  testRules(
    EVENTS,
    2_000,
    [
      "event: invalid",
      "event: not checked",
      "event: allowed unchecked",
      "event: checked, but odd",
      "event: a sweep",
      "event: an invalid sweep",
    ],
    20,
  );
});

/** Holds all rules against all cases, and then says of each rule whether it was broken. */
function testRules<Case, Seen>(property: Property<Case, Seen>, runs: number, happens: string[], often: number): void {
  const options = { runs, seed: SEED };
  const rules = Object.entries(property.rules);
  const broken = new Map<string, unknown>();
  let tally: Tally = {};

  beforeAll(async () => {
    const noting = rules.map(([rule, check]): [string, typeof check] => [
      rule,
      (seen) => {
        try {
          check(seen);
        } catch (error) {
          broken.set(rule, error);
        }
      },
    ]);
    tally = await tryCases(lanes, { ...property, rules: Object.fromEntries(noting) }, options);
  }, 120_000);

  test.each(rules)(
    "%s",
    async (rule, check) => {
      // Once more with this rule alone, for the smallest case that breaks it.
      if (broken.has(rule)) await tryCases(lanes, { ...property, rules: { [rule]: check } }, options);
      expect(broken.get(rule)).toBe(undefined);
    },
    120_000,
  );

  // Of the cases, not of what became of them: that would depend on how busy the machine is.
  test("the cases are about what the rules are about", () => {
    for (const what of happens) expect(tally[what], what).toBeGreaterThan(often);
  });
}
