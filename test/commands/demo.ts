// npm start: the built handler in front of a loopback EC2, as a story. With a file as argument: the one event in it.

import { readFileSync } from "node:fs";
import { relative } from "node:path";
import { fileURLToPath } from "node:url";
import { authorize } from "../ec2/client-vpn.ts";
import { REFUSED } from "../ec2/faults.ts";
import { LoopbackEc2 } from "../ec2/server.ts";
import { connectEvent } from "../helpers/events.ts";
import { DIST, InvocationError, Lambda } from "../helpers/lambda.ts";
import { endWithFault, endWrongUse, readArguments } from "./arguments.ts";
import { buildDist } from "./build.ts";
import { table } from "./report.ts";

/** The handler's environment variables. */
const SETTINGS = [
  "MAX_CONNECTIONS_PER_USER",
  "ON_FAILURE",
  "IDENTITY",
  "IGNORE_USERNAME_CASE",
  "KEEP_NAMES",
  "CHECK_LOGINS",
  "EXEMPT_USERS",
  "DRY_RUN",
];

const { positionals } = readArguments({
  usage: "npm start [-- event.json] | npm start -- --help",
  does: `Shows the built function at work against an imitation of EC2, as a story. With a file: runs the one event in it,
a login or a sweep (samples in test/helpers/events/), with those of the handler's settings that the environment has:
${SETTINGS.join(", ")}.`,
  allowPositionals: true,
  options: {},
});
const [file, ...more] = positionals;
if (more.length > 0) endWrongUse(`Unexpected argument '${more[0]}': expected one file`);
const event = file === undefined ? undefined : readEvent(file);
buildDist();

const settings = Object.fromEntries(SETTINGS.map((name) => [name, process.env[name] ?? ""]));
const ec2 = await new LoopbackEc2().start();
const lambda = await Lambda.start(`${DIST}index.cjs`, { ...ec2.env, ...(file === undefined ? {} : settings) });
const devices = new Map<string, string>();
const startedAt = Date.now() - 3_600_000;
try {
  addDevice("cvpn-connection-0a11ce1a9709c0de1", "alice", "alice's laptop");
  addDevice("cvpn-connection-0b0bde5c709c0de22", "bob", "bob's laptop");
  if (file === undefined) await tellStory();
  else await runEvent(file);
} catch (error) {
  console.error(`\n${error instanceof Error ? error.message : error}`);
  process.exitCode = 1;
} finally {
  await lambda.stop();
  await ec2.close();
}

async function tellStory(): Promise<void> {
  console.log("alice and bob are connected:");
  showConnections();

  const phone = await askHandler(connectEvent(), "alice's phone");
  console.log(`
alice connects from her phone. Client VPN asks the handler, which ends her laptop's connection and answers
${JSON.stringify(phone.response)}`);

  const race = [
    ["cvpn-connection-0a11ce7ab1e709c03", "alice's tablet"],
    ["cvpn-connection-05747a4e709c0de44", "a stranger's PC"],
  ] as const;
  const answers = await Promise.all(race.map(([id]) => lambda.invoke(connectEvent({ "connection-id": id }))));
  const both = answers.every(({ response }) => response.allow) ? "both" : "not both";
  for (const [id, device] of race) addDevice(id, "alice", device);
  await lambda.sweep({ sweep: ec2.endpointId });
  console.log(`
Her tablet and a stranger who has her password connect in the same moment. EC2 lists neither yet, so ${both} are allowed.
Within a minute or two, the scheduled sweep ends all of alice's connections but the newest:`);
  showConnections();

  ec2.fail("DescribeClientVpnConnections", REFUSED);
  const refused = await askHandler(
    connectEvent({ "connection-id": "cvpn-connection-0a11ce3a7c709c066" }),
    "alice's watch",
  );
  const { reason, errors } = Object(refused.entry);
  console.log(`
alice connects once more, but EC2 refuses to tell the handler anything. She is denied, and reads
${JSON.stringify(refused.response["error-msg-on-denied-connection"])}
and the administrator finds in the log, among others,
${JSON.stringify({ reason, errors })}

To look at your own endpoint, go on with "Look at your endpoint" in README.md. To try an event of your own:
npm start -- ${relative("", fileURLToPath(new URL("../helpers/events/alice.json", import.meta.url)))}`);
}

async function runEvent(file: string): Promise<void> {
  const isSweep = Object.hasOwn(Object(event), "sweep");
  // A login of the same moment, which is what a sweep is for.
  if (isSweep) addDevice("cvpn-connection-04e7e1b2f0daf9460", "alice", "alice's phone");
  heading("Who is connected");
  showConnections();
  heading(`The event in ${file}`);
  const endpoint = fieldOf(event, isSweep ? "sweep" : "endpoint-id");
  if (endpoint !== "" && endpoint !== ec2.endpointId) {
    console.log(`\nIts endpoint is ${JSON.stringify(endpoint)}. The demo knows one endpoint, ${ec2.endpointId}.`);
  }
  const set = Object.entries(settings).filter(([, value]) => value !== "");
  if (set.length > 0) show("Settings from the environment:", Object.fromEntries(set));
  if (isSweep) {
    await showSweep();
  } else {
    const { response, entry } = await askHandler(event, "the event's device");
    show("The response:", response);
    show("The log entry:", entry);
  }
  heading("Who is connected now");
  showConnections();
}

async function showSweep(): Promise<void> {
  const outcome = await lambda.sweep(event).catch((error: unknown) => {
    if (error instanceof InvocationError) return error;
    throw error;
  });
  const hasFailed = outcome instanceof InvocationError;
  if (hasFailed) show("The sweep failed:", outcome.message);
  else show("The result:", outcome.response);
  const [entry] = hasFailed ? outcome.invocation.log : outcome.log;
  // With a wrong setting or field it throws before there is anything to log.
  if (entry !== undefined) show("The log entry:", JSON.parse(String(entry.message[0])));
}

/** Asks the handler as Client VPN would, and lets the device in if it may. */
async function askHandler(event: unknown, device: string) {
  const { response, log, connection } = await authorize(ec2, lambda, event, { establishedAt: nextSecond() });
  if (connection) devices.set(connection.connectionId, device);
  const entry: unknown = JSON.parse(String(log[0]?.message[0]));
  return { response, entry };
}

/** With Active Directory, the common name is the user name. */
function addDevice(connectionId: string, username: string, device: string): void {
  ec2.addConnection({ connectionId, username, establishedAt: nextSecond() });
  devices.set(connectionId, device);
}

function nextSecond(): Date {
  return new Date(startedAt + devices.size * 1_000);
}

function readEvent(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file, "utf8"));
  } catch (error) {
    endWithFault(`Cannot read an event from ${file}: ${error instanceof Error ? error.message : error}`);
  }
}

function fieldOf(event: unknown, name: string): string {
  const fields = new Map<string, unknown>(Object.entries(event ?? {}));
  return String(fields.get(name) ?? "");
}

function heading(text: string): void {
  console.log(`\n--- ${text}`);
}

function show(explanation: string, value: unknown): void {
  console.log(`\n${explanation}\n${JSON.stringify(value, null, 2)}`);
}

function showConnections(): void {
  const isByCommonName = settings.IDENTITY === "common-name" && file !== undefined;
  const rows = ec2.connections.map(({ connectionId, username, commonName, status }) => [
    devices.get(connectionId) ?? "",
    (isByCommonName ? commonName : username) ?? "",
    connectionId,
    status,
  ]);
  console.log();
  const name = isByCommonName ? "COMMON NAME" : "USERNAME";
  table(["DEVICE".padEnd(15), name, "CONNECTION", "STATUS"], rows, 4);
}
