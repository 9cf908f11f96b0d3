import { spawnSync } from "node:child_process";
import { appendFileSync, cpSync, existsSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, onTestFinished, test } from "vitest";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));

/** A copy of the project in which nothing has been built, and what runs npm there. */
function unbuiltCopy() {
  const folder = mkdtempSync(join(tmpdir(), "client-vpn-unbuilt-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  for (const name of ["src", "test", "build.mjs", "package.json"]) {
    cpSync(join(ROOT, name), join(folder, name), { recursive: true });
  }
  symlinkSync(join(ROOT, "node_modules"), join(folder, "node_modules"));
  const { PATH = "" } = process.env;
  const npm = (...args: string[]) =>
    spawnSync("npm", ["--silent", ...args], { cwd: folder, env: { PATH, HOME: folder }, encoding: "utf8" });
  return { folder, npm, isBuilt: () => existsSync(join(folder, "dist")) };
}

// A machine that is busy takes its time to start npm, and what npm starts.
const TIMEOUT_MS = 60_000;

test.each([
  ["start", ["start"]],
  ["bench", ["run", "bench"]],
  ["fuzz", ["run", "fuzz"]],
])(
  "npm run %s builds nothing for what it does not take",
  (_, args) => {
    const { npm, isBuilt } = unbuiltCopy();
    expect(npm(...args, "--", "--bogus")).toMatchObject({ status: 2, stdout: "" });
    expect(isBuilt()).toBe(false);
  },
  TIMEOUT_MS,
);

// That the others do not either is in the tests of their arguments.
test(
  "npm start builds nothing for --help",
  () => {
    const { npm, isBuilt } = unbuiltCopy();
    expect(npm("start", "--", "--help")).toMatchObject({ status: 0, stderr: "" });
    expect(isBuilt()).toBe(false);
  },
  TIMEOUT_MS,
);

test(
  "npm start builds what it runs, but not where it cannot read the event",
  () => {
    const { npm, isBuilt } = unbuiltCopy();
    expect(npm("start", "--", "nothing.json")).toMatchObject({ status: 1, stdout: "" });
    expect(isBuilt()).toBe(false);
    const { status, stdout } = npm("start", "--", "test/helpers/events/alice.json");
    expect(stdout).toContain('"reason": "older connections terminated"');
    expect([status, isBuilt()]).toStrictEqual([0, true]);
  },
  TIMEOUT_MS,
);

// One command stands for all: they share what builds.
test(
  "npm start says where the build fails, and that it does, in sentences",
  () => {
    const { folder, npm } = unbuiltCopy();
    appendFileSync(join(folder, "src/handler.ts"), "const = no code;\n");
    const { status, stdout, stderr } = npm("start");
    expect([status, stdout]).toStrictEqual([1, ""]);
    expect(stderr).toContain("src/handler.ts:");
    expect(stderr).toContain("The files in dist/ could not be built: see above. Mend that first.\n");
    expect(stderr).not.toContain("    at ");
  },
  TIMEOUT_MS,
);

test(
  "a handler that does not load stops the build",
  () => {
    const { folder } = unbuiltCopy();
    appendFileSync(join(folder, "src/handler.ts"), 'throw new Error("not today");\n');
    const build = [join(folder, "build.mjs"), "--quiet"];
    const { status, stdout, stderr } = spawnSync(process.execPath, build, { encoding: "utf8" });
    expect([status, stdout]).toStrictEqual([1, ""]);
    expect(stderr).toContain("index.cjs does not load: Error: not today\n");
    expect(stderr).not.toContain("    at ");
  },
  TIMEOUT_MS,
);
