import { expect, test } from "vitest";
import { tryEvents, tryFaults, trySweeps } from "./properties.ts";

// npm run fuzz tries as many as you like, each time others. Here the seed is fixed, so that a change is what breaks them.
const SEED = 20_260_101;

test("whatever EC2 does: a valid answer in time, no stranger ended, and no older connection behind a yes", async () => {
  const tally = await tryFaults({ runs: 400, seed: SEED, lanes: 4 });
  for (const what of ["allowed", "denied", "connections ended", "newer connections listed"])
    expect(tally[what]).toBeGreaterThan(40);
}, 60_000);

test("whatever EC2 does, a sweep ends nobody but those too old, and what it leaves it does not call complete", async () => {
  const tally = await trySweeps({ runs: 300, seed: SEED, lanes: 4 });
  for (const what of ["complete", "incomplete", "connections ended"]) expect(tally[what]).toBeGreaterThan(40);
}, 60_000);

test("whatever the event is: a valid answer, and no call to EC2 for an invalid one", async () => {
  const tally = await tryEvents({ runs: 3_000, seed: SEED, lanes: 4 });
  for (const what of ["invalid", "valid, but odd"]) expect(tally[what]).toBeGreaterThan(300);
}, 60_000);
