import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, onTestFinished, test } from "vitest";
import { ENDPOINT_ID } from "../ec2/server.ts";
import { runHere } from "../helpers/command-here.ts";
import { connectEvent } from "../helpers/events.ts";

const LAPTOP = "cvpn-connection-0a11ce1a9709c0de1";

const sample = (name: string) => fileURLToPath(new URL(`../helpers/events/${name}.json`, import.meta.url));

function fileWith(event: unknown): string {
  const folder = mkdtempSync(join(tmpdir(), "client-vpn-event-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const file = join(folder, "event.json");
  writeFileSync(file, JSON.stringify(event));
  return file;
}

/** Returns what was connected before and after: for each connection its device, name and status. */
function tablesIn(stdout: string): string[][][] {
  return stdout
    .split(/^DEVICE .*\n/m)
    .slice(1)
    .map((part) => (part.split("\n\n")[0] ?? "").trim().split("\n"))
    .map((lines) => lines.map((line) => line.split(/ {2,}/).filter((_, i) => i !== 2)));
}

test("npm start with a file runs that event", async () => {
  const { status, stdout } = await runHere("demo", [sample("wrong-version")]);
  expect(status).toBe(0);
  expect(stdout).toContain('"allow": false');
  expect(stdout).toContain("invalid request: schema-version: expected 'v3', got 'v2'");
  expect(stdout).not.toContain("Settings");
});

test.each([
  ["that is not there", "nothing.json", "ENOENT"],
  ["that is not JSON", fileURLToPath(import.meta.url), "is not valid JSON"],
  ["that is a folder", tmpdir(), "EISDIR"],
])("npm start with a file %s says so, and fails", async (_, file, why) => {
  const { status, stdout, stderr } = await runHere("demo", [file]);
  expect([status, stdout]).toStrictEqual([1, ""]);
  expect(stderr).toContain(`Cannot read an event from ${file}: `);
  expect(stderr).toContain(why);
  expect(stderr).not.toContain("    at ");
});

test.each<[settings: Record<string, string>, says: string, laptop: string]>([
  [{}, '"reason": "older connections terminated"', "terminated"],
  [{ DRY_RUN: "true" }, '"reason": "dry run: older connections terminated"', "active"],
  [{ MAX_CONNECTIONS_PER_USER: "2" }, '"reason": "no older connections"', "active"],
  [{ EXEMPT_USERS: "alice" }, '"reason": "exempt user"', "active"],
  [{ ON_FAILURE: "refuse" }, "ON_FAILURE: expected deny or allow, got 'refuse'", "active"],
])(
  "npm start runs an event with the settings that the environment has, and shows them: %o",
  async (settings, says, laptop) => {
    const { status, stdout } = await runHere("demo", [sample("alice")], settings);
    expect(status).toBe(0);
    expect(stdout).toContain(says);
    for (const [name, value] of Object.entries(settings)) expect(stdout).toContain(`  "${name}": "${value}"`);
    expect(tablesIn(stdout)[1]?.[0]).toStrictEqual(["alice's laptop", "alice", laptop]);
  },
);

test("npm start with IDENTITY=common-name goes by the common names, and shows them", async () => {
  const file = fileWith(connectEvent({ username: "", "common-name": "alice" }));
  const { stdout } = await runHere("demo", [file], { IDENTITY: "common-name" });
  expect(stdout).toContain("COMMON NAME");
  expect(tablesIn(stdout)[1]).toStrictEqual([
    ["alice's laptop", "alice", "terminated"],
    ["bob's laptop", "bob", "active"],
    ["the event's device", "alice", "active"],
  ]);
});

test("npm start with an event of an endpoint that it does not know says which one it knows", async () => {
  const file = fileWith(connectEvent({ "endpoint-id": "cvpn-endpoint-1" }));
  const { status, stdout } = await runHere("demo", [file], { ON_FAILURE: "allow" });
  expect(status).toBe(0);
  expect(stdout).toContain(`Its endpoint is "cvpn-endpoint-1". The demo knows one endpoint, ${ENDPOINT_ID}.\n`);
  const [before, after] = tablesIn(stdout);
  expect(after).toStrictEqual(before);
});

test("npm start with a sweep shows what it found and ended", async () => {
  const { status, stdout } = await runHere("demo", [sample("sweep")]);
  expect(status).toBe(0);
  const [, result = "", entry = ""] = /The result:\n(.*)\n\nThe log entry:\n(.*)\n\n---/s.exec(stdout) ?? [];
  expect(JSON.parse(result)).toStrictEqual({
    "endpoint-id": ENDPOINT_ID,
    active: 3,
    unnamed: 0,
    terminated: [LAPTOP],
  });
  expect(JSON.parse(entry)).toMatchObject({ endpointId: ENDPOINT_ID, terminated: [LAPTOP], errors: [] });
  expect(tablesIn(stdout)[1]).toStrictEqual([
    ["alice's laptop", "alice", "terminated"],
    ["bob's laptop", "bob", "active"],
    ["alice's phone", "alice", "active"],
  ]);
});

test.each<[what: string, event: object, settings: Record<string, string>, says: string[], hasEntry: boolean]>([
  [
    "of another endpoint",
    { sweep: "cvpn-endpoint-1" },
    {},
    ["The demo knows one endpoint", "InvalidClientVpnEndpointId"],
    true,
  ],
  ["without an endpoint", { sweep: 7 }, {}, ["sweep: expected a non-empty string, got 7"], false],
  ["with a wrong setting", { sweep: ENDPOINT_ID }, { DRY_RUN: "yes" }, ["expected true or false, got 'yes'"], false],
])("npm start with a sweep %s shows that it fails, and why", async (_, event, settings, says, hasEntry) => {
  const { status, stdout } = await runHere("demo", [fileWith(event)], settings);
  expect(status).toBe(0);
  for (const text of ["The sweep failed:", ...says]) expect(stdout).toContain(text);
  expect(stdout.includes("The log entry:")).toBe(hasEntry);
});
