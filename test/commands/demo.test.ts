import { execFileSync, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const tsx = createRequire(import.meta.url).resolve("tsx/cli");
const demo = fileURLToPath(new URL("demo.ts", import.meta.url));
const events = fileURLToPath(new URL("../helpers/events/", import.meta.url));

test("npm start shows what the README says it shows, the time taken aside", () => {
  const shown = execFileSync(process.execPath, [tsx, demo], { encoding: "utf8" });
  const readme = readFileSync(new URL("../../README.md", import.meta.url), "utf8");
  const withoutTimes = (text: string) => text.replace(/"durationMs": \d+/g, '"durationMs": …');
  expect(withoutTimes(readme)).toContain(withoutTimes(shown.trim()));
});

test("npm start with a file runs that event", () => {
  const shown = execFileSync(process.execPath, [tsx, demo, `${events}wrong-version.json`], { encoding: "utf8" });
  expect(shown).toContain('"allow": false');
  expect(shown).toContain("invalid request: schema-version: expected 'v3', got 'v2'");
});

test("npm start with a file that is not there says so, and fails", () => {
  const { status, stderr } = spawnSync(process.execPath, [tsx, demo, "nothing.json"], { encoding: "utf8" });
  expect(status).toBe(1);
  expect(stderr).toContain("Cannot read an event from nothing.json");
  expect(stderr).not.toContain("    at ");
});
