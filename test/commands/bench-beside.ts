// What a login and a sweep of many connections cost each other in one process, beside what they cost in two.

import { setTimeout as sleep } from "node:timers/promises";
import { LoopbackEc2 } from "../ec2/server.ts";
import { connectEvent } from "../helpers/events.ts";
import { DIST, Lambda } from "../helpers/lambda.ts";
import { count, median, progress, ratio, table } from "./report.ts";

const SWEPT = 20_000;
const ROUNDS = 15;
const WARM_UP = 5;
const MIDDLE_MS = 100; // of a sweep of that many

/** Medians in ms. */
interface Beside {
  where: string;
  login: number;
  sweep: number;
}

/**
 * Has a login and a sweep in two processes and in one, in turn and at the same time. In the middle of a sweep a login also
 * waits for what is common to both processes, the imitation of EC2 and the machine's cores: hence the same in two.
 */
export async function measureBeside(): Promise<Beside[]> {
  const ec2 = await new LoopbackEc2().start();
  const lambdas: Lambda[] = [];
  const start = async () => {
    const lambda = await Lambda.start(`${DIST}index.cjs`, ec2.env);
    lambdas.push(lambda);
    return {
      login: async () => (await lambda.invoke(connectEvent())).durationMs,
      sweep: async () => (await lambda.sweep({ sweep: ec2.endpointId })).durationMs,
    };
  };
  try {
    for (let i = 0; i < SWEPT; i++) ec2.addConnection({ username: `other-${i}` });
    const [a, b, both] = [await start(), await start(), await start()];
    const ways: { where: string; run: () => Promise<[login: number, sweep: number]>; runs: [number, number][] }[] = [
      {
        where: "in two, one after the other",
        run: async () => {
          await a.login(); // wakes the process, as a sweep does
          return [await a.login(), await b.sweep()];
        },
        runs: [],
      },
      {
        where: "in one, one after the other",
        run: async () => {
          const sweep = await both.sweep();
          return [await both.login(), sweep];
        },
        runs: [],
      },
      {
        where: "in two, a login in the middle of a sweep",
        run: () => Promise.all([sleep(MIDDLE_MS).then(a.login), b.sweep()]),
        runs: [],
      },
      {
        where: "in one, a login in the middle of a sweep",
        run: () => Promise.all([sleep(MIDDLE_MS).then(both.login), both.sweep()]),
        runs: [],
      },
    ];
    for (let round = 1 - WARM_UP; round <= ROUNDS; round++) {
      progress("sweeping", `, round ${round} of ${ROUNDS}`);
      for (const { run, runs } of ways) {
        const figures = await run();
        if (round > 0) runs.push(figures);
      }
    }
    return ways.map(({ where, runs }) => ({
      where,
      login: median(runs.map(([login]) => login)),
      sweep: median(runs.map(([, sweep]) => sweep)),
    }));
  } finally {
    for (const lambda of lambdas) await lambda.stop();
    await ec2.close();
  }
}

/** Prints them as a table. */
export function printBeside(beside: Beside[]): void {
  console.log(
    `\nA login and a sweep of ${count(SWEPT)} sessions, in two warm processes and in one: medians of ${ROUNDS}\n`,
  );
  const [alone] = beside;
  table(
    ["", "login ms", "/ alone", "sweep ms", "/ alone"],
    beside.map(({ where, login, sweep }) => [
      where,
      login.toFixed(1),
      ratio(login, alone?.login),
      sweep.toFixed(0),
      ratio(sweep, alone?.sweep),
    ]),
  );
}
