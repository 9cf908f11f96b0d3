// npm start: the built handler in front of a loopback EC2, as a story. With a file as argument: that one event.

import { readFile } from "node:fs/promises";
import { relative } from "node:path";
import { fileURLToPath } from "node:url";
import { REFUSED } from "../ec2/faults.ts";
import { LoopbackEc2 } from "../ec2/server.ts";
import { connectEvent } from "../helpers/events.ts";
import { DIST, Lambda } from "../helpers/lambda.ts";
import { endWrongUse, readArguments } from "./arguments.ts";
import { buildDist } from "./build.ts";
import { table } from "./report.ts";

const { positionals } = readArguments({
  usage: "npm start [-- event.json] | npm start -- --help",
  does: `Shows the built function at work against an imitation of EC2, as a story. With a file: runs the one event in it
(samples in test/helpers/events/).`,
  allowPositionals: true,
  options: {},
});
const [file, ...more] = positionals;
if (more.length > 0) endWrongUse(`Unexpected argument '${more[0]}': expected one file`);
buildDist();

const ec2 = await new LoopbackEc2().start();
const lambda = await Lambda.start(`${DIST}index.cjs`, ec2.env);
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
  showConnections();

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

To set it up, go on with "Set it up" in README.md. To try an event of your own:
npm start -- ${relative("", fileURLToPath(new URL("../helpers/events/alice.json", import.meta.url)))}`);
}

async function runEvent(file: string): Promise<void> {
  const event = await readEvent(file);
  heading("Who is connected");
  showConnections();
  heading(`The event in ${file}`);
  const { response, entry } = await askHandler(event, "the event's device");
  show("The response:", response);
  show("The log entry:", entry);
  heading("Who is connected now");
  showConnections();
}

/** Asks the handler as Client VPN would, and lets the device in if it may. */
async function askHandler(event: unknown, device: string) {
  const { response, log } = await lambda.invoke(event);
  if (response.allow) addDevice(fieldOf(event, "connection-id"), fieldOf(event, "username"), device);
  const entry: unknown = JSON.parse(String(log[0]?.message[0]));
  return { response, entry };
}

function addDevice(connectionId: string, username: string, device: string): void {
  const establishedAt = new Date(startedAt + devices.size * 1_000);
  ec2.addConnection({ connectionId, username, filterUsername: username, establishedAt });
  devices.set(connectionId, device);
}

async function readEvent(file: string | URL): Promise<unknown> {
  try {
    return JSON.parse(await readFile(file, "utf8"));
  } catch (error) {
    throw new Error(`Cannot read an event from ${file}: ${error instanceof Error ? error.message : error}`);
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
  const rows = ec2.connections.map(({ connectionId, username, status }) => [
    devices.get(connectionId) ?? "",
    username ?? "",
    connectionId,
    status,
  ]);
  console.log();
  table(["DEVICE".padEnd(15), "USERNAME", "CONNECTION", "STATUS"], rows, 4);
}
