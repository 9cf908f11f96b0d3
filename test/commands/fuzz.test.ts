import { expect, test } from "vitest";
import { runHere } from "../helpers/command-here.ts";

test.each([
  ["as many lanes as it is told, each with its share", "3", "2", 2],
  ["no more lanes than it has cases", "1", "2", 1],
])("npm run fuzz tries as many cases of each kind as it is told, in %s", async (_, runs, lanes, used) => {
  const { status, stdout } = await runHere("fuzz", ["--runs", runs, "--lanes", lanes, "--seed", "1"]);
  expect(status).toBe(0);
  expect(stdout).toContain(`seed 1, ${used} lanes;`);
  expect(stdout).toContain("In one run, EC2 may fail several times");
  for (const what of ["events", "faults in a login and a sweep beside it"]) {
    expect(stdout).toContain(`\n${runs} runs with random ${what}: no rule broken\n`);
  }
});
