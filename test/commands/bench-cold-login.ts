// What a cold login and a warm one cost, beside what they could cost. With --json, the figures alone.

import { execFile, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import * as esbuild from "esbuild";
import { HANDLER, zip } from "../../build.mjs";
import { LoopbackEc2 } from "../ec2/server.ts";
import { connectEvent } from "../helpers/events.ts";
import { keptAs } from "../helpers/kept.ts";
import { DIST, Lambda } from "../helpers/lambda.ts";
import { measureBeside, printBeside } from "./bench-beside.ts";
import { count, median, note, progress, ratio, table } from "./report.ts";

const ROUNDS = 15;
const CONNECTS = 41;
const WARM_UP = 20;
const OTHERS = [10, 20_000, 126_000];
const OLDER = [0, 1, 5];
/** With KEEP_NAMES, where each login reads all connections. */
const OTHERS_KEPT = [10, 3_000];
const KEEP_NAMES = { KEEP_NAMES: "true" };

const BOTO3 = `
import json, resource, sys, time
started_at = time.perf_counter()
import boto3
ec2 = boto3.client("ec2")
loaded_at = time.perf_counter()
event = json.loads(sys.argv[1])
def ask():
    by_name = [{"Name": "username", "Values": [event["username"]]}]
    ec2.describe_client_vpn_connections(ClientVpnEndpointId=event["endpoint-id"], Filters=by_name, MaxResults=1000)
    return time.perf_counter()
first_at = ask()
second_at = ask()
usage = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({
    "load": (loaded_at - started_at) * 1000,
    "first": (first_at - loaded_at) * 1000,
    "both": (first_at - started_at) * 1000,
    "second": (second_at - first_at) * 1000,
    "cpu": (usage.ru_utime + usage.ru_stime) * 1000,
    "memory": usage.ru_maxrss * 1024,
}))
`;

export async function benchColdLogin(asJson: boolean): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "client-vpn-bench-"));
  const logins = await measureColdLogins(folder).finally(() => rmSync(folder, { recursive: true }));
  const connects = await measureConnects();
  const beside = await measureBeside();
  progress("");
  if (asJson) console.log(JSON.stringify({ node: process.version, rounds: ROUNDS, logins, connects, beside }, null, 2));
  else {
    printTables(logins, connects);
    printBeside(beside);
  }
}

/** Of one process, in ms and bytes. */
interface Figures {
  load: number;
  first: number;
  /** Load and first answer: what a user waits for. */
  both: number;
  second: number;
  cpu: number;
  memory: number;
}

interface Contestant {
  what: string;
  command: string[];
  settings?: Record<string, string>;
  /** Sizes in bytes, where it is one file. */
  bytes?: number;
  zipBytes?: number;
}

interface ColdLogin extends Omit<Contestant, "command" | "settings"> {
  medians: Figures;
}

interface Connect {
  areNamesKept: boolean;
  older: number;
  others: number;
  calls: number;
  ms: number;
}

/** Asks each contestant in fresh processes, in turn, so that a busy moment of the machine hits all of them. */
async function measureColdLogins(folder: string): Promise<ColdLogin[]> {
  // First, as it needs what may not be there.
  const certificate = join(folder, "certificate.pem");
  const key = makeCertificate(folder, certificate);
  const defaults = join(folder, "defaults.cjs");
  await esbuild.build({ entryPoints: [HANDLER], bundle: true, minify: true, platform: "node", outfile: defaults });
  const script = fileURLToPath(new URL("bench-process.cjs", import.meta.url));
  const onNode = (file: string) => [process.execPath, script, file];
  const floor = fileURLToPath(new URL("bench-floor.cjs", import.meta.url));
  const contestants: Contestant[] = [
    { what: "a  bare node:https and node:crypto", command: onNode(floor) },
    { what: "b  dist/index.cjs", command: onNode(`${DIST}index.cjs`), ...sizes(`${DIST}index.cjs`) },
    { what: "c  the same, a first login after a sweep", command: [...onNode(`${DIST}index.cjs`), "after a sweep"] },
    { what: "d  the same as b, with KEEP_NAMES", command: onNode(`${DIST}index.cjs`), settings: KEEP_NAMES },
    { what: "e  b with esbuild's defaults", command: onNode(defaults), ...sizes(defaults) },
    { what: "f  dist/paste.mjs, on the SDK as installed", command: onNode(`${DIST}paste.mjs`) },
  ];
  if (hasBoto3()) contestants.push({ what: "g  Python with boto3", command: ["python3", "-c", BOTO3] });
  else note("g  Python with boto3 is skipped: python3 has no boto3 here.");

  const ec2 = await new LoopbackEc2({ key, cert: readFileSync(certificate, "utf8") }).start();
  try {
    const env = {
      ...ec2.env,
      PATH: process.env.PATH,
      AWS_DEFAULT_REGION: ec2.region,
      // The SDK does a little more where it finds itself in Lambda.
      AWS_LAMBDA_FUNCTION_NAME: "AWSClientVPN-bench",
      _X_AMZN_TRACE_ID: "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0",
      NODE_EXTRA_CA_CERTS: certificate,
      AWS_CA_BUNDLE: certificate,
      AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: "true",
    };
    const event = JSON.stringify(connectEvent());
    const runs = contestants.map((): Figures[] => []);
    for (let round = 1; round <= ROUNDS; round++) {
      for (const [i, { what, command, settings }] of contestants.entries()) {
        progress("cold logins", `, round ${round} of ${ROUNDS}: ${what}`);
        const [program = "", ...args] = command;
        const { stdout } = await promisify(execFile)(program, [...args, event], { env: { ...env, ...settings } });
        runs[i]?.push(JSON.parse(stdout.trim().split("\n").at(-1) ?? ""));
      }
    }
    return contestants.map(({ command: _, settings: __, ...rest }, i) => ({
      ...rest,
      medians: mediansOf(runs[i] ?? []),
    }));
  } finally {
    await ec2.close();
  }
}

function mediansOf(runs: Figures[]): Figures {
  const of = (name: keyof Figures) => median(runs.map((run) => run[name]));
  return {
    load: of("load"),
    first: of("first"),
    both: of("both"),
    second: of("second"),
    cpu: of("cpu"),
    memory: of("memory"),
  };
}

function sizes(file: string) {
  const code = readFileSync(file);
  return { bytes: code.length, zipBytes: zip("index.cjs", code).length };
}

/** Writes a certificate for the loopback address and returns its key (PEM). */
function makeCertificate(folder: string, certificate: string): string {
  const key = join(folder, "key.pem");
  const elliptic = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  const loopback = ["-days", "2", "-subj", "/CN=loopback", "-addext", "subjectAltName=IP:127.0.0.1"];
  const args = ["req", "-x509", ...elliptic, ...loopback, "-keyout", key, "-out", certificate];
  const { error, status, stderr } = spawnSync("openssl", args, { encoding: "utf8" });
  if (status !== 0) throw new Error(`the certificate for this run needs openssl: ${error?.message ?? stderr}`);
  return readFileSync(key, "utf8");
}

function hasBoto3(): boolean {
  return spawnSync("python3", ["-c", "import boto3"], { stdio: "ignore" }).status === 0;
}

/** Connects users with older sessions of their own among those of others, in turn, to processes that are warm. */
async function measureConnects(): Promise<Connect[]> {
  const cases: (Pick<Connect, "areNamesKept" | "others" | "older"> & {
    ec2: LoopbackEc2;
    lambda: Lambda;
    ms: number[];
    calls: number[];
  })[] = [];
  const add = (ec2: LoopbackEc2, username: string, isKept: boolean) =>
    ec2.addConnection({ username, postureComplianceStatuses: isKept ? [keptAs(username)] : undefined });
  try {
    const lots = [
      ...OTHERS.map((others) => ({ others, areNamesKept: false })),
      ...OTHERS_KEPT.map((others) => ({ others, areNamesKept: true })),
    ];
    for (const { others, areNamesKept } of lots) {
      progress(`preparing ${count(others)} other connections`);
      const ec2 = await new LoopbackEc2().start();
      for (let i = 0; i < others; i++) add(ec2, `other-${i}`, areNamesKept);
      const lambda = await Lambda.start(`${DIST}index.cjs`, { ...ec2.env, ...(areNamesKept && KEEP_NAMES) });
      for (const older of OLDER) cases.push({ areNamesKept, others, ec2, lambda, older, ms: [], calls: [] });
    }
    for (let round = 1 - WARM_UP; round <= CONNECTS; round++) {
      if (round < 1) progress("warming up");
      else progress("connecting", `, round ${round} of ${CONNECTS}`);
      for (const { areNamesKept, ec2, lambda, older, ms, calls } of cases) {
        // What has ended is listed for an hour: each login would read more than the last.
        if (areNamesKept) ec2.connections = ec2.connections.filter(({ endedAt }) => endedAt === undefined);
        const username = `user with ${older}, round ${round}`;
        for (let i = 0; i < older; i++) add(ec2, username, areNamesKept);
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
  return cases.map(({ areNamesKept, older, others, ms, calls }) => ({
    areNamesKept,
    older,
    others,
    calls: median(calls),
    ms: median(ms),
  }));
}

function printTables(logins: ColdLogin[], connects: Connect[]): void {
  const [floor, ours] = logins.map(({ medians }) => medians);
  console.log(
    `A cold login over HTTPS, on Node ${process.version} with ${availableParallelism()} cores: ` +
      `medians of ${ROUNDS} fresh processes each, taken in turn\n`,
  );
  table(
    [
      "ms",
      "load",
      "/ a",
      "first answer",
      "both",
      "/ a",
      "/ b",
      "second answer",
      "/ a",
      "CPU time",
      "peak MB",
      "bytes",
      "zip bytes",
    ],
    logins.map(({ what, medians: { load, first, both, second, cpu, memory }, bytes, zipBytes }) => [
      what,
      load === 0 ? "" : load.toFixed(1),
      load === 0 ? "" : ratio(load, floor?.load),
      first.toFixed(1),
      both.toFixed(1),
      ratio(both, floor?.both),
      ratio(both, ours?.both),
      second.toFixed(1),
      ratio(second, floor?.second),
      cpu.toFixed(0),
      (memory / 1e6).toFixed(0),
      bytes === undefined ? "" : count(bytes),
      zipBytes === undefined ? "" : count(zipBytes),
    ]),
  );
  console.log(`\nA login in a warm process, EC2 on loopback: medians of ${CONNECTS}\n`);
  table(
    [
      "older sessions",
      "others' sessions",
      "KEEP_NAMES",
      "EC2 calls",
      "handler ms",
      `/ ${count(OTHERS[0] ?? 0)} others`,
    ],
    OLDER.flatMap((older) => {
      const same = connects.filter((connect) => connect.older === older);
      return same.map(({ areNamesKept, others, calls, ms }) => [
        String(older),
        count(others),
        areNamesKept ? "true" : "",
        String(calls),
        ms.toFixed(1),
        ratio(ms, same[0]?.ms),
      ]);
    }),
  );
}
