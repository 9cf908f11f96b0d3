// What one user costs the others, before EC2's limits: somebody who hammers, and devices that connect again by themselves,
// each time that another one has pushed them out or that they were denied. Each login has an environment to itself, as
// Lambda hands them out: one for all of them would know what all the others have met.

import { setTimeout as sleep } from "node:timers/promises";
import type { Connection } from "../ec2/connection.ts";
import { LoopbackEc2 } from "../ec2/server.ts";
import { connectEvent } from "../helpers/events.ts";
import { DIST, Lambda, measuredUntil } from "../helpers/lambda.ts";
import { bucketsFor, LIMITS, limitText } from "./limits.ts";
import { Pool } from "./pool.ts";
import { count, median, progress, table } from "./report.ts";

const REMAINING_MS = 30_000;
const AGAIN_MS = 2_000;

/** One user's way to log in again and again. */
interface Habit {
  what: string;
  /** How many of its logins may wait at the same time. */
  atOnce: number;
  /** How long a call takes until it is at EC2, in ms. */
  latency: { least: number; most: number };
  /** Goes on until it has done all it wants, or until the others have been answered. */
  run: (connect: () => Promise<Connection | undefined>, isOver: () => boolean) => Promise<unknown>;
}

interface Logins {
  allowed: number;
  denied: number;
  /** Of those allowed, in ms. */
  waits: number[];
}

/**
 * Prints what becomes of others, who come one a second with one older session each, and what EC2 is asked meanwhile: in a
 * flood of each number of attempts a second, and in three shapes of so many devices.
 */
export async function benchOneUser(attempts: number[], devices: number | undefined, others = 30): Promise<void> {
  const habits = attempts.map((perSecond) => flood(perSecond, others));
  if (devices !== undefined) {
    habits.push(
      pushingOut(devices, AGAIN_MS / devices, { least: 0, most: 0 }),
      pushingOut(devices, 10, { least: 120, most: 120 }),
      pushingOut(devices, 0, { least: 80, most: 160 }),
    );
  }
  const rows: string[][] = [];
  for (const habit of habits) rows.push([habit.what, ...(await measure(habit, others))]);
  progress("");
  const { describe, terminate } = LIMITS;
  console.log(
    `\nOne user beside ${others} others, one a second, with an older session each; a sweep after ${others / 2} s; ` +
      "environments as Lambda hands them out;\n" +
      `EC2 serves ${limitText(describe)} look-ups and ${limitText(terminate)} terminations\n`,
  );
  const header = ["the one user", "others denied", "median s", "longest s", "its allowed", "denied"];
  table([...header, "look-ups", "throttled", "terminations", "throttled", "environments"], rows);
}

function flood(perSecond: number, seconds: number): Habit {
  return {
    what: `${perSecond} attempts a second`,
    atOnce: perSecond * seconds,
    latency: { least: 0, most: 0 },
    run: (connect) =>
      Promise.all(
        Array.from({ length: perSecond * seconds }, async (_, i) => {
          await sleep((i * 1_000) / perSecond);
          await connect();
        }),
      ),
  };
}

function pushingOut(devices: number, apart: number, latency: Habit["latency"]): Habit {
  const { least, most } = latency;
  const start = apart === 0 ? "of one moment" : `${apart.toFixed(0)} ms apart`;
  const calls = most === 0 ? "" : `, calls of ${least === most ? least : `${least} to ${most}`} ms`;
  return {
    what: `${devices} devices, ${start}${calls}`,
    atOnce: devices,
    latency,
    run: async (connect, isOver) => {
      const stayConnected = async (device: number) => {
        await sleep(device * apart);
        while (!isOver()) {
          const connection = await connect();
          while (connection && connection.endedAt === undefined && !isOver()) await sleep(50);
          if (!isOver()) await sleep(AGAIN_MS);
        }
      };
      await Promise.all(Array.from({ length: devices }, (_, device) => stayConnected(device)));
    },
  };
}

/** Returns the figures of a row. */
async function measure(habit: Habit, others: number): Promise<string[]> {
  const most = habit.atOnce + others + 1;
  progress(`loading dist/index.cjs ${count(most)} times`);
  const ec2 = await new LoopbackEc2().start();
  // Now, and not when they are needed: in Lambda, no environment waits until others have been loaded.
  const lambda = await Lambda.start(`${DIST}index.cjs`, ec2.env, most);
  try {
    return await besideOthers(habit, others, ec2, lambda);
  } finally {
    await lambda.stop();
    await ec2.close();
  }
}

async function besideOthers(habit: Habit, others: number, ec2: LoopbackEc2, lambda: Lambda): Promise<string[]> {
  const { what, latency, run } = habit;
  for (let i = 0; i < others; i++) ec2.addConnection({ username: `user-${i}` });
  const buckets = bucketsFor(LIMITS);
  ec2.buckets = buckets;
  ec2.latency = () => latency.least + Math.random() * (latency.most - latency.least);
  const pool = new Pool();
  const ofOthers: Logins = { allowed: 0, denied: 0, waits: [] };
  const ofOne: Logins = { allowed: 0, denied: 0, waits: [] };
  const answered = ({ allowed, denied }: Logins) => allowed + denied;
  let logins = 0;

  const connect = async (username: string, to: Logins) => {
    const connectionId = `cvpn-connection-new-${++logins}`;
    const event = connectEvent({ username, "connection-id": connectionId });
    const startedAt = performance.now();
    const { response } = await pool.use((instance) => lambda.invoke(event, { remaining: REMAINING_MS, instance }));
    if (!response.allow) return void to.denied++;
    to.allowed++;
    to.waits.push(performance.now() - startedAt);
    return ec2.addConnection({ connectionId, username, establishedAt: new Date() });
  };
  const comeOnce = async (other: number) => {
    await sleep(other * 1_000);
    await connect(`user-${other}`, ofOthers);
    progress(what, `, ${answered(ofOthers)} of ${others} others answered`);
  };
  const sweep = async () => {
    await sleep(others * 500);
    const event = { sweep: ec2.endpointId };
    // One that EC2 throttles throws in the end, after it did what it could.
    await pool.use((instance) => lambda.sweep(event, { remaining: REMAINING_MS, instance })).catch(measuredUntil);
  };
  const connectOne = () => connect("the one user", ofOne);
  const isOver = () => answered(ofOthers) === others;
  await Promise.all([
    run(connectOne, isOver),
    sweep(),
    ...Array.from({ length: others }, (_, other) => comeOnce(other)),
  ]);

  const seconds = (ms: number) => (ms / 1_000).toFixed(2);
  const calls = (["DescribeClientVpnConnections", "TerminateClientVpnConnections"] as const).flatMap((name) => [
    ec2.requests.filter(({ action }) => action === name).length,
    buckets[name].refused,
  ]);
  const waits = [median(ofOthers.waits), Math.max(0, ...ofOthers.waits)].map(seconds);
  const counts = [ofOne.allowed, ofOne.denied, ...calls, pool.started].map(count);
  return [count(ofOthers.denied), ...waits, ...counts];
}
