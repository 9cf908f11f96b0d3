// What a cold start and a connect cost, beside what they could cost. With --json, the figures alone.

import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { devNull, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import * as esbuild from "esbuild";
import { bundle, HANDLER, SDK_STEPS, zip } from "../../build.mjs";
import { LoopbackEc2 } from "../ec2/server.ts";
import { connectEvent } from "../helpers/events.ts";
import { DIST, Lambda } from "../helpers/lambda.ts";
import { count, median, note, progress, ratio, table } from "./report.ts";

const ROUNDS = 15;
const CONNECTS = 41;
const WARM_UP = 20;
const OTHERS = [10, 20_000, 126_000];
const OLDER = [0, 1, 5];

const LOAD_BOTO3 = `
import json, resource, time
started_at = time.perf_counter()
import boto3
boto3.client("ec2")
ms = (time.perf_counter() - started_at) * 1000
print(json.dumps({"ms": ms, "bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))
`;

export async function benchColdStart(asJson: boolean): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "client-vpn-bench-"));
  const loads = await measureLoads(folder).finally(() => rmSync(folder, { recursive: true }));
  const connects = await measureConnects();
  progress("");
  if (asJson) console.log(JSON.stringify({ node: process.version, rounds: ROUNDS, loads, connects }, null, 2));
  else printTables(loads, connects);
}

interface Load {
  what: string;
  ms: number;
  memoryBytes: number;
  bytes?: number;
  zipBytes?: number;
}

interface Connect {
  older: number;
  others: number;
  calls: number;
  ms: number;
}

/** Loads each candidate in fresh processes, in turn, so that a busy moment of the machine hits all of them. */
async function measureLoads(folder: string): Promise<Load[]> {
  const ours = readFileSync(`${DIST}index.cjs`);
  const { metafile } = await bundle(SDK_STEPS);
  const builtIns = join(folder, "built-ins.mjs");
  const imports = Object.values(metafile.outputs)
    .flatMap((output) => output.imports)
    .filter(({ kind }) => kind === "import-statement")
    .map(({ path }) => path);
  writeFileSync(builtIns, [...new Set(imports)].map((path) => `import "${path}";\n`).join(""));

  const defaults = join(folder, "defaults.cjs");
  await esbuild.build({ entryPoints: [HANDLER], bundle: true, minify: true, platform: "node", outfile: defaults });
  const defaultBundle = readFileSync(defaults);

  const loadModule = fileURLToPath(new URL("bench-load.mjs", import.meta.url));
  const node = (file: string) => [process.execPath, loadModule, pathToFileURL(file).href];
  const candidates = [
    candidate("a  the Node built-ins that b imports", node(builtIns)),
    candidate("b  dist/index.cjs", node(`${DIST}index.cjs`), ours),
    candidate("c  the same, with esbuild's defaults", node(defaults), defaultBundle),
    candidate("d  dist/paste.mjs, on the SDK as installed", node(`${DIST}paste.mjs`)),
  ];
  if (hasBoto3()) {
    candidates.push(candidate("e  Python: boto3.client('ec2')", ["python3", "-c", LOAD_BOTO3]));
  } else {
    note("e  Python: boto3.client('ec2') is skipped: python3 has no boto3 here.");
  }

  for (let round = 1; round <= ROUNDS; round++) {
    for (const { what, command, ms, memoryBytes } of candidates) {
      progress("loading", `, round ${round} of ${ROUNDS}: ${what}`);
      const load = run(command);
      ms.push(load.ms);
      memoryBytes.push(load.bytes);
    }
  }
  return candidates.map(({ command: _, ms, memoryBytes, ...rest }) => ({
    ...rest,
    ms: median(ms),
    memoryBytes: median(memoryBytes),
  }));
}

/** Something to load, with the figures of each run to come, and with its size where it is one file. */
function candidate(what: string, command: string[], code?: Uint8Array) {
  const sizes = code && { bytes: code.length, zipBytes: zip("index.cjs", code).length };
  return { what, command, ms: [] as number[], memoryBytes: [] as number[], ...sizes };
}

function hasBoto3(): boolean {
  return spawnSync("python3", ["-c", "import boto3"], { stdio: "ignore" }).status === 0;
}

function run([command = "", ...args]: string[]): { ms: number; bytes: number } {
  const { PATH } = process.env;
  const lambda = {
    AWS_REGION: "eu-central-1",
    AWS_DEFAULT_REGION: "eu-central-1",
    AWS_ACCESS_KEY_ID: "AKIDBENCH",
    AWS_SECRET_ACCESS_KEY: "secret",
    AWS_CONFIG_FILE: devNull,
    AWS_SHARED_CREDENTIALS_FILE: devNull,
    AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: "true",
  };
  const output = execFileSync(command, args, { encoding: "utf8", env: { PATH, ...lambda }, stdio: "pipe" });
  return JSON.parse(output);
}

/** Connects users with older sessions of their own among those of others, in turn, to processes that are warm. */
async function measureConnects(): Promise<Connect[]> {
  const cases: { others: number; ec2: LoopbackEc2; lambda: Lambda; older: number; ms: number[]; calls: number[] }[] =
    [];
  try {
    for (const others of OTHERS) {
      progress(`preparing ${count(others)} other connections`);
      const ec2 = await new LoopbackEc2().start();
      for (let i = 0; i < others; i++) ec2.addConnection({ username: `other-${i}` });
      const lambda = await Lambda.start(`${DIST}index.cjs`, ec2.env);
      for (const older of OLDER) cases.push({ others, ec2, lambda, older, ms: [], calls: [] });
    }
    for (let round = 1 - WARM_UP; round <= CONNECTS; round++) {
      if (round < 1) progress("warming up");
      else progress("connecting", `, round ${round} of ${CONNECTS}`);
      for (const { ec2, lambda, older, ms, calls } of cases) {
        const username = `user with ${older}, round ${round}`;
        for (let i = 0; i < older; i++) ec2.addConnection({ username });
        const callsBefore = ec2.requests.length;
        const { response, durationMs } = await lambda.invoke(connectEvent({ username }));
        if (!response.allow) throw new Error("a connect was denied");
        if (round < 1) continue;
        ms.push(durationMs);
        calls.push(ec2.requests.length - callsBefore);
      }
    }
  } finally {
    for (const lambda of new Set(cases.map((one) => one.lambda))) await lambda.stop();
    for (const ec2 of new Set(cases.map((one) => one.ec2))) await ec2.close();
  }
  return cases.map(({ older, others, ms, calls }) => ({ older, others, calls: median(calls), ms: median(ms) }));
}

function printTables(loads: Load[], connects: Connect[]): void {
  const [a, b] = loads;
  console.log(`Loading, on Node ${process.version}: medians of ${ROUNDS} fresh processes each, taken in turn\n`);
  table(
    ["", "load ms", "/ a", "/ b", "peak MB", "/ a", "bytes", "/ b", "zip bytes", "/ b"],
    loads.map(({ what, ms, memoryBytes, bytes, zipBytes }) => [
      what,
      ms.toFixed(1),
      ratio(ms, a?.ms),
      ratio(ms, b?.ms),
      (memoryBytes / 1e6).toFixed(1),
      ratio(memoryBytes, a?.memoryBytes),
      bytes === undefined ? "" : count(bytes),
      ratio(bytes, b?.bytes),
      zipBytes === undefined ? "" : count(zipBytes),
      ratio(zipBytes, b?.zipBytes),
    ]),
  );
  console.log(`\nA connect to a warm process, EC2 on loopback: medians of ${CONNECTS}\n`);
  table(
    ["older sessions", "others' sessions", "EC2 calls", "handler ms", `/ ${count(OTHERS[0] ?? 0)} others`],
    OLDER.flatMap((older) => {
      const same = connects.filter((connect) => connect.older === older);
      return same.map(({ others, calls, ms }) => [
        String(older),
        count(others),
        String(calls),
        ms.toFixed(1),
        ratio(ms, same[0]?.ms),
      ]);
    }),
  );
}
