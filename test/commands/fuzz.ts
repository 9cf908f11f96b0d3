// npm run fuzz -- --runs N [--seed S] [--lanes L]: the properties of the test suite, on more cases, from another seed.

import { parseArgs } from "node:util";
import { tryEvents, tryFaults, trySweeps } from "../built/properties.ts";
import { count, numberFrom, progress, table } from "./report.ts";

const { values } = parseArgs({
  options: {
    runs: { type: "string", default: "2000" },
    seed: { type: "string", default: String(Math.floor(Math.random() * 2 ** 31)) },
    lanes: { type: "string", default: "8" },
  },
});
const options = {
  runs: numberFrom(values.runs, 1),
  seed: numberFrom(values.seed, 0),
  lanes: numberFrom(values.lanes, 1),
};
const step = Math.max(100, Math.ceil(options.runs / 10));

console.log(`seed ${options.seed}, ${options.lanes} lanes; the same two numbers make the same cases again`);
try {
  for (const [what, tryAll] of [
    ["events", tryEvents],
    ["faults", tryFaults],
    ["faults in sweeps", trySweeps],
  ] as const) {
    let runs = 0;
    const tally = await tryAll(options, () => {
      if (++runs % step === 0) progress(`${what}: ${count(runs)} of ${count(options.runs)} runs`);
    });
    progress("");
    console.log(`\n${count(runs)} runs with random ${what}: nothing found\n`);
    table(
      ["what happened", "times"],
      Object.entries(tally)
        .sort()
        .map(([name, times]) => [name, count(times)]),
    );
  }
} catch (error) {
  progress("");
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}
