import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { runCommand } from "../helpers/command.ts";

test("npm start shows what the README says it shows, the time taken aside", () => {
  const { status, stdout, stderr } = runCommand("demo");
  expect([status, stderr]).toStrictEqual([0, ""]);
  const readme = readFileSync(new URL("../../README.md", import.meta.url), "utf8");
  const withoutTimes = (text: string) => text.replace(/"durationMs": \d+/g, '"durationMs": …');
  expect(withoutTimes(readme)).toContain(withoutTimes(stdout.trim()));
});
