// Devices of one user that connect again by themselves, each time that another one has pushed them out or that they were
// denied, beside other users who want to log in: what that one user's devices cost the others, before EC2's limits.

import { setTimeout as sleep } from "node:timers/promises";
import { LoopbackEc2 } from "../ec2/server.ts";
import { connectEvent } from "../helpers/events.ts";
import { DIST, Lambda } from "../helpers/lambda.ts";
import { bucketsFor, LIMITS, limitText } from "./limits.ts";
import { count, median, progress, table } from "./report.ts";

/** Others come one a second, each with one older session. */
const OTHERS = 35;
const AGAIN_MS = 2_000;

/** How a user's devices come, and how long a call takes until it is at EC2, both in ms. */
interface Shape {
  apart: number;
  latency: { least: number; most: number };
}

interface Waits {
  allowed: number;
  denied: number;
  /** Of those allowed, in ms. */
  waits: number[];
}

/** Prints what becomes of the others, and of the devices, while these push each other out: once for each shape. */
export async function benchDevices(devices: number): Promise<void> {
  const shapes: Shape[] = [
    { apart: AGAIN_MS / devices, latency: { least: 0, most: 0 } },
    { apart: 10, latency: { least: 120, most: 120 } },
    { apart: 0, latency: { least: 80, most: 160 } },
  ];
  for (const shape of shapes) await run(devices, shape);
}

async function run(devices: number, shape: Shape): Promise<void> {
  const { apart, latency } = shape;
  progress(`loading dist/index.cjs ${devices + OTHERS} times`);
  const ec2 = await new LoopbackEc2().start();
  const lambda = await Lambda.start(`${DIST}index.cjs`, ec2.env, devices + OTHERS);
  try {
    for (let i = 0; i < OTHERS; i++) ec2.addConnection({ username: `user-${i}` });
    ec2.buckets = bucketsFor(LIMITS);
    ec2.latency = () => latency.least + Math.random() * (latency.most - latency.least);
    const ofOthers: Waits = { allowed: 0, denied: 0, waits: [] };
    const ofDevices: Waits = { allowed: 0, denied: 0, waits: [] };
    let logins = 0;
    let isOver = false;

    const connect = async (instance: number, username: string, to: Waits) => {
      const connectionId = `cvpn-connection-new-${++logins}`;
      const event = connectEvent({ username, "connection-id": connectionId });
      const { response, durationMs } = await lambda.invoke(event, { instance });
      if (!response.allow) return void to.denied++;
      to.allowed++;
      to.waits.push(durationMs);
      return ec2.addConnection({ connectionId, username, establishedAt: new Date() });
    };
    const stayConnected = async (device: number) => {
      await sleep(device * apart);
      while (!isOver) {
        const connection = await connect(device, "the user with many devices", ofDevices);
        while (connection && connection.endedAt === undefined && !isOver) await sleep(50);
        await sleep(AGAIN_MS);
      }
    };
    const comeOnce = async (other: number) => {
      await sleep(other * 1_000);
      await connect(devices + other, `user-${other}`, ofOthers);
      progress(`${devices} devices`, `, ${ofOthers.allowed + ofOthers.denied} of ${OTHERS} others answered`);
    };
    const staying = Promise.all(Array.from({ length: devices }, (_, device) => stayConnected(device)));
    await Promise.all(Array.from({ length: OTHERS }, (_, other) => comeOnce(other)));
    const asked = ec2.requests.filter(({ action }) => action === "TerminateClientVpnConnections").length;
    isOver = true;
    await staying;
    progress("");
    print(devices, shape, asked, { "other users": ofOthers, "its logins": ofDevices });
  } finally {
    await lambda.stop();
    await ec2.close();
  }
}

function print(devices: number, { apart, latency }: Shape, asked: number, rows: Record<string, Waits>): void {
  const { describe, terminate } = LIMITS;
  const { least, most } = latency;
  const start = apart === 0 ? "of the same moment" : `${apart.toFixed(0)} ms apart`;
  console.log(
    `\n${devices} devices of one user, ${start}, push each other out and connect again after ${AGAIN_MS / 1_000} s, ` +
      `beside ${OTHERS} other users, one a second, with an older session each;\n` +
      `a call takes ${least === most ? least : `${least} to ${most}`} ms to EC2, which serves ${limitText(describe)} look-ups and ${limitText(terminate)} terminations; ` +
      `${count(asked)} terminations were asked for\n`,
  );
  const seconds = (ms: number) => (ms / 1_000).toFixed(2);
  table(
    ["", "allowed", "denied", "median s", "most s"],
    Object.entries(rows).map(([who, { allowed, denied, waits }]) => [
      who,
      count(allowed),
      count(denied),
      seconds(median(waits)),
      seconds(Math.max(0, ...waits)),
    ]),
  );
}
