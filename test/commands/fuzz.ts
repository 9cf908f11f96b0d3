// npm run fuzz: the properties of the test suite, on more cases, from another seed.

import { BESIDE } from "../built/properties/beside.ts";
import { EVENTS } from "../built/properties/events.ts";
import { type Property, startLanes, stopLanes, tryCases } from "../built/properties/lanes.ts";
import { integerFrom, readArguments } from "./arguments.ts";
import { buildDist } from "./build.ts";
import { count, progress, table } from "./report.ts";

const { values } = readArguments({
  usage: "npm run fuzz -- [--runs N] [--seed S] [--lanes L] [--help]",
  does: "Tries the rules of the tests on random requests, and on random logins and sweeps while EC2 fails at random.",
  options: {
    runs: { type: "string", value: "N", meaning: "how many cases of each kind", default: "2000" },
    seed: { type: "string", value: "S", meaning: "an integer that the cases are made from (default: a random one)" },
    lanes: { type: "string", value: "L", meaning: "how many cases are tried at once", default: "8" },
  },
});
const runs = integerFrom("--runs", values.runs, 1);
const seed = integerFrom("--seed", values.seed ?? String(Math.floor(Math.random() * 2 ** 31)), 0);
const laneCount = Math.min(runs, integerFrom("--lanes", values.lanes, 1));
buildDist();
const lanes = await startLanes(laneCount);

console.log(`seed ${seed}, ${lanes.length} lanes; the same two numbers make the same cases again`);
console.log(
  "In one run, EC2 may fail several times, and several connections may end: those counts can exceed the runs.",
);
try {
  await fuzz("events", EVENTS);
  await fuzz("faults in a login and a sweep beside it", BESIDE);
} catch (error) {
  progress("");
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
} finally {
  await stopLanes(lanes);
}

async function fuzz<Case, Seen>(what: string, property: Property<Case, Seen>): Promise<void> {
  const step = Math.max(100, Math.ceil(runs / 10));
  let done = 0;
  const onRun = () => {
    if (++done % step === 0) progress(`${what}: ${count(done)} of ${count(runs)} runs`);
  };
  const tally = await tryCases(lanes, property, { runs, seed, onRun });
  progress("");
  console.log(`\n${count(done)} runs with random ${what}: no rule broken\n`);
  table(
    ["what happened", "times"],
    Object.entries(tally)
      .sort()
      .map(([name, times]) => [name, count(times)]),
  );
}
