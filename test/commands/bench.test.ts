import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";
import { runCommandWith } from "../helpers/command.ts";
import { table } from "./report.ts";

test("npm run bench without openssl says that it needs it, and fails", () => {
  const folder = mkdtempSync(join(tmpdir(), "client-vpn-no-programs-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const { status, stdout, stderr } = runCommandWith({ PATH: folder }, "bench");
  expect([status, stdout]).toStrictEqual([1, ""]);
  expect(stderr).toContain("needs openssl");
  expect(stderr).not.toContain("    at ");
});

test("npm run bench -- storm holds the handler against the SDK's own retries, by default and at their best", () => {
  const { status, stdout } = runCommandWith({}, "bench", "storm", "--users", "1", "--seconds", "0", "--scale", "1");
  expect(status).toBe(0);
  const rows = stdout.split("\n").map((line) => line.split(/ {2,}/).slice(0, 2));
  for (const name of ["dist/index.cjs", "SDK, maxAttempts 3 (default)", "SDK, maxAttempts 30, adaptive"]) {
    expect(rows).toContainEqual([name, "1"]);
  }
});

test("a table has its texts to the left and its numbers to the right, and no spaces at the ends", () => {
  const log = vi.spyOn(console, "log").mockImplementation(() => {});
  onTestFinished(() => log.mockRestore());
  table(
    ["what", "of whom", "ms"],
    [
      ["a login", "alice", "7"],
      ["a sweep", "", ""],
    ],
    2,
  );
  expect(log.mock.calls.flat()).toStrictEqual(["what     of whom  ms", "a login  alice     7", "a sweep"]);
});
