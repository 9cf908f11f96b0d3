import { spawnSync } from "node:child_process";
import { appendFileSync, cpSync, existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, onTestFinished, test } from "vitest";
import { TSX } from "../helpers/command.ts";
import { DIST, DIST_FILES } from "../helpers/lambda.ts";

// Copies of the project in which nothing has been built: when commands build, that the bytes are the same again, and
// what stops the build.

const ROOT = fileURLToPath(new URL("../../", import.meta.url));

/** A copy of the project in which nothing has been built, and what runs npm's scripts there. */
function unbuiltCopy() {
  const folder = mkdtempSync(join(tmpdir(), "client-vpn-unbuilt-"));
  for (const name of ["src", "test", "build.mjs", "package.json", "tsconfig.json"]) {
    cpSync(join(ROOT, name), join(folder, name), { recursive: true });
  }
  symlinkSync(join(ROOT, "node_modules"), join(folder, "node_modules"));
  const { PATH = "" } = process.env;
  const run = (command: string, ...args: string[]) =>
    spawnSync(command, args, { cwd: folder, env: { PATH, HOME: folder, TZ: "Pacific/Kiritimati" }, encoding: "utf8" });
  const { scripts } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  return {
    folder,
    npm: (...args: string[]) => run("npm", "--silent", ...args),
    /** Runs what npm would, but without the processes of npm and of tsx itself. */
    script(name: "start" | "bench" | "fuzz", ...args: string[]) {
      const [, file = ""] = /^tsx (\S+)$/.exec(scripts[name]) ?? [];
      return run(process.execPath, "--import", TSX, file, ...args);
    },
    isBuilt: () => existsSync(join(folder, "dist")),
    remove: () => rmSync(folder, { recursive: true }),
  };
}

describe("where nothing is built", () => {
  const { folder, npm, script, isBuilt, remove } = unbuiltCopy();
  afterAll(remove);

  test.each(["start", "bench", "fuzz"] as const)("npm run %s builds nothing for what it does not take", (name) => {
    expect(script(name, "--bogus")).toMatchObject({ status: 2, stdout: "" });
    expect(isBuilt()).toBe(false);
  });

  // That the others do not either is in the tests of their arguments.
  test("npm start builds nothing for --help", () => {
    expect(script("start", "--help")).toMatchObject({ status: 0, stderr: "" });
    expect(isBuilt()).toBe(false);
  });

  test("npm start builds what it runs, but not where it cannot read the event", () => {
    expect(script("start", "nothing.json")).toMatchObject({ status: 1, stdout: "" });
    expect(isBuilt()).toBe(false);
    const { status, stdout, stderr } = npm("start", "--", "test/helpers/events/alice.json");
    expect(stdout).toContain('"reason": "older connections terminated"');
    expect([status, stderr, isBuilt()]).toStrictEqual([0, "", true]);
  });

  // This one is built in another folder and time zone.
  test.each(DIST_FILES)("what was built has the same bytes again: %s", (name) => {
    expect(readFileSync(join(folder, "dist", name)).equals(readFileSync(`${DIST}${name}`))).toBe(true);
  });
});

/** A copy with this at the end of the handler. */
function copyWith(mistake: string) {
  const copy = unbuiltCopy();
  onTestFinished(copy.remove);
  appendFileSync(join(copy.folder, "src/handler.ts"), mistake);
  return copy;
}

// One command stands for all: they share what builds.
test("npm start says where the build fails, and that it does, in sentences", () => {
  const { status, stdout, stderr } = copyWith("const = no code;\n").script("start");
  expect([status, stdout]).toStrictEqual([1, ""]);
  expect(stderr).toContain("src/handler.ts:");
  expect(stderr).toContain("The files in dist/ could not be built: see above. Mend that first.\n");
  expect(stderr).not.toContain("    at ");
});

test("a handler that does not load stops the build", () => {
  const { folder } = copyWith('throw new Error("not today");\n');
  const build = [join(folder, "build.mjs"), "--quiet"];
  const { status, stdout, stderr } = spawnSync(process.execPath, build, { encoding: "utf8" });
  expect([status, stdout]).toStrictEqual([1, ""]);
  expect(stderr).toContain("index.cjs does not load: Error: not today\n");
  expect(stderr).not.toContain("    at ");
});
