// A storm: many users connect within seconds, each to a warm instance of the handler, before EC2's documented limits. The
// same storm is sent to the handler as it is and to two with the SDK's own retries, and all are held against an ideal
// queue before the same limits: first come, first served, without a call too many.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { bundle, replaceAll, SDK_STEPS } from "../../build.mjs";
import { LoopbackEc2 } from "../ec2/server.ts";
import { connectEvent } from "../helpers/events.ts";
import { DIST, Lambda } from "../helpers/lambda.ts";
import { bucketsFor, LIMITS, type Limit, type Limits, limitText, scaled } from "./limits.ts";
import { count, median, progress, ratio, table } from "./report.ts";

/** Client VPN waits this long for an answer. */
const CLIENT_VPN_WAITS_MS = 30_000;

/**
 * The client's settings with which the SDK retries by itself: by default, and the best that a user could set. `standard`
 * with as many attempts lets in no more users, and asks EC2 more.
 */
const SDK_RETRIES = [
  { name: "SDK, maxAttempts 3 (default)", maxAttempts: 3, retryMode: "standard", timeouts: "" },
  {
    name: "SDK, maxAttempts 30, adaptive",
    maxAttempts: 30,
    retryMode: "adaptive",
    timeouts: "connectionTimeout: 5_000, requestTimeout: 5_000, throwOnRequestTimeout: true,",
  },
];

interface Storm {
  users: number;
  seconds: number;
  /** How many older sessions each user has. */
  older: number;
}

interface Outcome {
  allowed: number;
  denied: number;
  late: number;
  calls: number;
  /** Of those allowed, in ms. */
  waits: number[];
}

/**
 * Prints what becomes of three storms, the last of one moment, or of the one that is given. Users and limits are scaled together, which leaves the
 * waits as they are: at full size several hundred users in one process would measure this machine's processor instead.
 */
export async function benchStorm(options: Omit<Storm, "users"> & { scale: number; users?: number | undefined }) {
  const { scale, users, seconds, older } = options;
  const full =
    users === undefined
      ? [
          { users: 400, seconds, older: 0 },
          { users: 200, seconds, older: 1 },
          { users: 400, seconds: 0, older: 0 },
        ]
      : [{ users, seconds, older }];
  const folder = mkdtempSync(join(tmpdir(), "client-vpn-storm-"));
  try {
    const contestants = [{ name: "dist/index.cjs", file: `${DIST}index.cjs` }];
    for (const [i, settings] of SDK_RETRIES.entries()) {
      const file = join(folder, `${i}.cjs`);
      writeFileSync(file, await bundleWithSdkRetries(settings));
      contestants.push({ name: settings.name, file });
    }
    for (const storm of full.map((one) => ({ ...one, users: Math.round(one.users * scale) }))) {
      const limits = scaled(LIMITS, scale);
      const outcomes: Record<string, Outcome> = {};
      for (const { name, file } of contestants) outcomes[name] = await run(name, file, storm, limits);
      progress("");
      print(storm, limits, ideal(storm, limits), outcomes);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** The handler with the SDK's own attempts, instead of its loop's: the time of one attempt is the time of all of them. */
async function bundleWithSdkRetries(settings: (typeof SDK_RETRIES)[number]): Promise<Uint8Array> {
  const { maxAttempts, retryMode, timeouts } = settings;
  const rewrites: [pattern: RegExp, replacement: string][] = [
    [/if \(!mayGetBetter\(error\)\) throw error;/g, "throw error;"],
    [
      /Math\.min\(ATTEMPT_TIMEOUT_MS, \(deadline\.at - performance\.now\(\)\) \/ 2\)/g,
      "deadline.at - performance.now()",
    ],
    [/maxAttempts: 1, retryMode: "standard"/g, `maxAttempts: ${maxAttempts}, retryMode: "${retryMode}"`],
    [/const requestHandler = \{/g, `const requestHandler = { ${timeouts}`],
  ];
  const rewrite = (source: string) =>
    rewrites.reduce((code, [pattern, replacement]) => replaceAll(code, pattern, () => replacement), source);
  const step = { name: "leave the retries to the SDK", module: "src/handler.ts", rewrite };
  const { code } = await bundle([...SDK_STEPS, step]);
  return code;
}

async function run(name: string, file: string, storm: Storm, limits: Limits): Promise<Outcome> {
  const { users, older } = storm;
  progress(`loading ${name} ${users} times`);
  const ec2 = await new LoopbackEc2().start();
  const lambda = await Lambda.start(file, ec2.env, users);
  try {
    for (let i = 0; i < users; i++) {
      for (let k = 0; k < older; k++) ec2.addConnection({ username: `user-${i}` });
    }
    ec2.buckets = bucketsFor(limits);
    const outcome: Outcome = { allowed: 0, denied: 0, late: 0, calls: 0, waits: [] };
    const startedAt = performance.now();
    const show = () => {
      const time = `${((performance.now() - startedAt) / 1_000).toFixed(0)} s`;
      progress(`${name}: ${time}, ${outcome.allowed} of ${users} users allowed, ${outcome.denied} denied`);
    };
    const ticker = setInterval(show, process.stderr.isTTY ? 1_000 : 5_000);
    const connect = async (instance: number) => {
      await new Promise((resolve) => setTimeout(resolve, arrival(instance, storm)));
      const event = connectEvent({ username: `user-${instance}`, "connection-id": `new-${instance}` });
      const { response, durationMs } = await lambda.invoke(event, { remaining: CLIENT_VPN_WAITS_MS, instance });
      if (durationMs > CLIENT_VPN_WAITS_MS) outcome.late++;
      if (!response.allow) return void outcome.denied++;
      outcome.allowed++;
      outcome.waits.push(durationMs);
    };
    show();
    await Promise.all(Array.from({ length: users }, (_, instance) => connect(instance)));
    clearInterval(ticker);
    return { ...outcome, calls: ec2.requests.length };
  } finally {
    await lambda.stop();
    await ec2.close();
  }
}

/** Returns when a user connects, in ms from the beginning of the storm. */
function arrival(user: number, { users, seconds }: Storm): number {
  return (user * seconds * 1_000) / users;
}

/** What the limits allow: each call waits in a queue until there is a token for it, or until Client VPN waits no more. */
function ideal(storm: Storm, { describe, terminate }: Limits): Outcome {
  const [look, end] = [queueBefore(describe), queueBefore(terminate)];
  const outcome: Outcome = { allowed: 0, denied: 0, late: 0, calls: 0, waits: [] };
  for (let user = 0; user < storm.users; user++) {
    const arrivesAt = arrival(user, storm);
    const givesUpAt = arrivesAt + CLIENT_VPN_WAITS_MS;
    let servedAt = look(arrivesAt, givesUpAt);
    for (let k = 0; k < storm.older; k++) servedAt = end(servedAt, givesUpAt);
    if (servedAt === Number.POSITIVE_INFINITY) {
      outcome.denied++;
    } else {
      outcome.allowed++;
      outcome.calls += 1 + storm.older;
      outcome.waits.push(servedAt - arrivesAt);
    }
  }
  return outcome;
}

/** Returns a function that says when (ms) a call that comes at a time is served, if calls come in order; or Infinity. */
function queueBefore({ capacity, perSecond }: Limit) {
  let tokens = capacity;
  let now = 0;
  return (comesAt: number, givesUpAt: number): number => {
    const from = Math.max(comesAt, now);
    const tokensThen = Math.min(capacity, tokens + ((from - now) * perSecond) / 1_000);
    const servedAt = from + (Math.max(0, 1 - tokensThen) * 1_000) / perSecond;
    if (servedAt > givesUpAt) return Number.POSITIVE_INFINITY;
    tokens = Math.max(0, tokensThen - 1);
    now = servedAt;
    return servedAt;
  };
}

function print({ users, seconds, older }: Storm, limits: Limits, best: Outcome, runs: Record<string, Outcome>): void {
  const each = older === 1 ? "one older session" : `${older === 0 ? "no" : older} older sessions`;
  console.log(
    `\n${count(users)} users ${seconds === 0 ? "at once" : `in ${seconds} s`}, ${each} each; ` +
      `EC2 serves ${limitText(limits.describe)} look-ups and ${limitText(limits.terminate)} terminations\n`,
  );
  const seconds2 = (ms: number) => (ms / 1_000).toFixed(2);
  const mean = ({ waits }: Outcome) => waits.reduce((sum, wait) => sum + wait, 0) / waits.length;
  table(
    ["", "allowed", "/ ideal", "denied", "late", "calls per login", "mean wait s", "/ ideal", "median s", "longest s"],
    Object.entries({ "an ideal queue": best, ...runs }).map(([name, outcome]) => [
      name,
      count(outcome.allowed),
      `${((100 * outcome.allowed) / best.allowed).toFixed(1)} %`,
      count(outcome.denied),
      count(outcome.late),
      (outcome.calls / users).toFixed(1),
      seconds2(mean(outcome)),
      ratio(mean(outcome), mean(best)),
      seconds2(median(outcome.waits)),
      seconds2(Math.max(0, ...outcome.waits)),
    ]),
  );
}
