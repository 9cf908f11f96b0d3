// npm start: the built handler in front of a loopback EC2, as a story. With a file as argument: that one event.

import { readFile } from "node:fs/promises";
import { relative } from "node:path";
import { LoopbackEc2 } from "../ec2/server.ts";
import { connectEvent } from "../helpers/events.ts";
import { DIST, Lambda } from "../helpers/lambda.ts";
import { endWith, readArguments } from "./arguments.ts";
import { table } from "./report.ts";

const { positionals } = readArguments("npm start [-- event.json]", { allowPositionals: true });
const [file, ...more] = positionals;
if (more.length > 0) endWith(`npm start takes one file, got ${positionals.length}`);

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
  heading("Who is connected: alice and bob, each once");
  showConnections();

  heading("alice connects from her phone, and Client VPN asks the handler");
  const phone = await askHandler(connectEvent(), "alice's phone");
  show("The handler ends her laptop's connection and answers:", phone.response);
  show("The administrator finds in the log:", phone.entry);

  heading("Who is connected now: alice's laptop is out, her phone is in, bob is untouched");
  showConnections();

  heading("alice's tablet and somebody who has her password connect in the same moment");
  const [tablet, stranger] = ["cvpn-connection-0a11ce7ab1e709c03", "cvpn-connection-05747a4e709c0de44"];
  const race = [tablet, stranger].map((id) => lambda.invoke(connectEvent({ "connection-id": id })));
  const both = (await Promise.all(race)).every(({ response }) => response.allow);
  console.log(
    `\nNeither is active yet when the handler looks for the other, so ${both ? "both are" : "one is"} allowed:`,
  );
  addDevice(tablet, "alice", "alice's tablet");
  addDevice(stranger, "alice", "a stranger's PC");
  showConnections("alice");

  heading("A minute later at most, the scheduled sweep runs");
  const { response: swept } = await lambda.sweep({ "endpoint-id": ec2.endpointId });
  show("It keeps the newest connection of each user, ends the others and returns:", swept);
  showConnections("alice");
  console.log("\nWhoever is out connects again and pushes the other out, which alice notices and the log shows.");

  heading("Where MAX_CONNECTIONS_PER_USER is 2, carol may be connected twice");
  addDevice("cvpn-connection-0ca401a1709c0de51", "carol", "carol's laptop");
  const permissive = await Lambda.start(`${DIST}index.cjs`, { ...ec2.env, MAX_CONNECTIONS_PER_USER: "2" });
  try {
    for (const [id, device] of [
      ["cvpn-connection-0ca4019603e0de052", "carol's phone"],
      ["cvpn-connection-0ca4017ab1e70de53", "carol's tablet"],
    ] as const) {
      await askHandler(connectEvent({ username: "carol", "connection-id": id }), device, permissive);
    }
  } finally {
    await permissive.stop();
  }
  console.log("\nHer phone came beside her laptop; for her tablet, the older of the two had to go:");
  showConnections("carol");

  heading("A device connects without a user name (certificates only)");
  const kiosk = await askHandler(
    await readEvent(new URL("../helpers/events/no-user-name.json", import.meta.url)),
    "kiosk",
  );
  show("No other connection can be said to be the same user's, so EC2 is not asked and nobody ended:", kiosk.response);

  heading("alice connects once more, but EC2 refuses to tell the handler anything");
  ec2.fail("DescribeClientVpnConnections", {
    status: 403,
    code: "UnauthorizedOperation",
    message:
      "You are not authorized to perform this operation. User: arn:aws:sts::123456789012:assumed-role/vpn/handler " +
      "is not authorized to perform: ec2:DescribeClientVpnConnections",
  });
  const refused = await askHandler(
    connectEvent({ "connection-id": "cvpn-connection-0a11ce3a7c709c066" }),
    "alice's watch",
  );
  show("What cannot be checked is denied. alice reads what to do, and nothing about the account:", refused.response);
  show("The administrator reads why:", refused.entry);

  heading("Next");
  console.log(`\nUpload ${relative("", `${DIST}function.zip`)} as a Lambda function named AWSClientVPN-..., and set its ARN on your Client VPN
endpoint: README.md has every step under "Deploy it".
To try an event of your own: npm start -- event.json (there are samples in test/helpers/events/).`);
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
async function askHandler(event: unknown, device: string, by = lambda) {
  const { response, log } = await by.invoke(event);
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

function showConnections(of?: string): void {
  const shown = ec2.connections.filter(({ username }) => of === undefined || username === of);
  const rows = shown.map(({ connectionId, username, status }) => [
    devices.get(connectionId) ?? "",
    username ?? "",
    connectionId,
    status,
  ]);
  console.log();
  // All tables are as wide as the longest name needs.
  table(["DEVICE".padEnd(18), "USER NAME", "CONNECTION", "STATUS"], rows, 4);
}
