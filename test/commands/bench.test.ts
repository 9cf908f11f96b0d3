import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";
import { runCommandWith } from "../helpers/command.ts";
import { benchOneUser } from "./bench-one-user.ts";
import { Pool } from "./pool.ts";
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

test("npm run bench -- storm tells what one user who hammers, and one with many devices, cost another user", async () => {
  const log = vi.spyOn(console, "log").mockImplementation(() => {});
  onTestFinished(() => log.mockRestore());
  await benchOneUser([20], 2, 1);
  const lines = log.mock.calls.map(([line]) => String(line).split(/ {2,}/));
  const rows = lines.slice(-4).map(([what = "", ...figures]) => ({ what, figures: figures.map(Number) }));
  expect(rows.map(({ what }) => what)).toStrictEqual([
    "20 attempts a second",
    "2 devices, 1000 ms apart",
    "2 devices, 10 ms apart, calls of 120 ms",
    "2 devices, of one moment, calls of 80 to 160 ms",
  ]);
  for (const { what, figures } of rows) {
    const [denied, , , itsAllowed = 0, itsDenied = 0, lookUps = 0, throttled] = figures;
    if (what === "20 attempts a second") expect(itsAllowed + itsDenied).toBe(20);
    expect([denied, throttled]).toStrictEqual([0, 0]);
    // The other user and the sweep look too.
    expect(lookUps).toBeGreaterThanOrEqual(itsAllowed + 2);
  }
});

test("a new environment serves a login only where no other is idle, and the last one used comes first", async () => {
  const pool = new Pool();
  const inUse: (() => void)[] = [];
  const use = () => pool.use((environment) => new Promise((resolve) => inUse.push(() => resolve(environment))));
  const three = [use(), use(), use()];
  for (const i of [2, 0]) {
    inUse[i]?.();
    await three[i];
  }
  const more = [use(), use(), use()];
  for (const end of inUse) end();
  expect(await Promise.all([...three, ...more])).toStrictEqual([0, 1, 2, 0, 2, 3]);
  expect(pool.started).toBe(4);
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
