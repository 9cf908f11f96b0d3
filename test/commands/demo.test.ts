import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { runCommand } from "../helpers/command.ts";

test("npm start with a file runs that event", () => {
  const file = fileURLToPath(new URL("../helpers/events/wrong-version.json", import.meta.url));
  const { status, stdout } = runCommand("demo", file);
  expect(status).toBe(0);
  expect(stdout).toContain('"allow": false');
  expect(stdout).toContain("invalid request: schema-version: expected 'v3', got 'v2'");
});

test("npm start with a file that is not there says so, and fails", () => {
  const { status, stderr } = runCommand("demo", "nothing.json");
  expect(status).toBe(1);
  expect(stderr).toContain("Cannot read an event from nothing.json");
  expect(stderr).not.toContain("    at ");
});
