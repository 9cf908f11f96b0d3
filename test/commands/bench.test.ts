import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { runCommandWith } from "../helpers/command.ts";

test("npm run bench without openssl says that it needs it, and fails", () => {
  const folder = mkdtempSync(join(tmpdir(), "client-vpn-no-programs-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const { status, stdout, stderr } = runCommandWith({ PATH: folder }, "bench");
  expect([status, stdout]).toStrictEqual([1, ""]);
  expect(stderr).toContain("needs openssl");
  expect(stderr).not.toContain("    at ");
});
