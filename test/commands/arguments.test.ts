import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, test, vi } from "vitest";
import { runHere } from "../helpers/command-here.ts";
import { DIST_FILES } from "../helpers/lambda.ts";
import { expectEachSetting } from "../helpers/settings.ts";

// What the commands make of their arguments: in this process, but for the build, which is a script that runs alone.
// test/build/unbuilt.test.ts runs the others as npm does.

vi.mock("./build.ts", () => ({
  buildDist() {
    throw new Error("the command begins its work");
  },
}));

const USAGE = {
  bench:
    "usage: npm run bench -- [--json] | npm run bench -- storm [--users N] [--seconds S] [--older N] [--scale F] [--attempts N] [--devices N] | [--help]",
  demo: "usage: npm start [-- event.json] | npm start -- --help",
  fuzz: "usage: npm run fuzz -- [--runs N] [--seed S] [--lanes L] [--help]",
};

describe("a command that is given what it does not take names it, shows its usage and ends with exit code 2:", () => {
  test.each<[name: keyof typeof USAGE, args: string, says: string]>([
    ["demo", "--foo", "Unknown option '--foo'"],
    ["demo", "one.json two.json", "Unexpected argument 'two.json': expected one file"],
    ["fuzz", "--bogus", "Unknown option '--bogus'"],
    ["fuzz", "20", "Unexpected argument '20'"],
    ["fuzz", "--runs", "Option '--runs <value>' argument missing"],
    ["fuzz", "--runs x", '--runs: expected an integer from 1, got "x"'],
    ["fuzz", "--runs 0", '--runs: expected an integer from 1, got "0"'],
    ["fuzz", "--seed 1.5", '--seed: expected an integer from 0, got "1.5"'],
    ["fuzz", "--seed=-1", '--seed: expected an integer from 0, got "-1"'],
    ["fuzz", "--lanes Infinity", '--lanes: expected an integer from 1, got "Infinity"'],
    ["bench", "--bogus", "Unknown option '--bogus'"],
    ["bench", "--json=yes", "Option '--json' does not take an argument"],
    ["bench", "strom", "Unknown argument 'strom': expected storm, or none"],
    ["bench", "storm rain", "Unexpected argument 'rain'"],
    ["bench", "--users 5", "Option '--users' is for storm only"],
    ["bench", "storm --json", "Option '--json' is not for storm"],
    ["bench", "storm --scale 0", '--scale: expected a number from 0.01, got "0"'],
    ["bench", "storm --users --older 2", "Option '--users' argument is ambiguous"],
    ["bench", "storm --users many", '--users: expected an integer from 1, got "many"'],
  ])("%s %s", async (name, args, says) => {
    const { status, stdout, stderr } = await runHere(name, args.split(" "));
    expect([status, stdout]).toStrictEqual([2, ""]);
    expect(stderr.split("\n")).toStrictEqual([says, USAGE[name], ""]);
  });
});

describe("--help shows the usage, and each option with its default:", () => {
  test.each<[name: keyof typeof USAGE, options: [name: string, byDefault: string][]]>([
    ["demo", []],
    [
      "fuzz",
      [
        ["runs N", "2000"],
        ["seed S", "a random one"],
        ["lanes L", "8"],
      ],
    ],
    [
      "bench",
      [
        ["json", "as tables"],
        ["users N", "three storms, of 200 and 400"],
        ["seconds S", "5"],
        ["older N", "0"],
        ["scale F", "0.4"],
        ["attempts N", "30 and 60, at the end"],
        ["devices N", "50, at the end"],
      ],
    ],
  ])("%s", async (name, options) => {
    const { status, stdout, stderr } = await runHere(name, ["--help"]);
    expect([status, stderr]).toStrictEqual([0, ""]);
    const lines = stdout.trimEnd().split("\n");
    expect(lines[0]).toBe(USAGE[name]);
    expect(lines.filter((line) => line.startsWith("  --"))).toStrictEqual([
      ...options.map(([option, byDefault]) =>
        expect.stringMatching(new RegExp(`^  --${option} +\\S.* \\(default: ${byDefault}\\)$`)),
      ),
      expect.stringMatching(/^ {2}--help +\S/),
    ]);
  });

  test("npm start names each setting of the handler", async () => {
    const { stdout } = await runHere("demo", ["--help"]);
    const [, names = ""] = /^([A-Z_, ]+)\.$/m.exec(stdout) ?? [];
    expectEachSetting(names.split(", "), "the help of npm start");
  });
});

describe("the build", () => {
  const BUILD = fileURLToPath(new URL("../../build.mjs", import.meta.url));
  const folder = mkdtempSync(join(tmpdir(), "client-vpn-arguments-"));
  afterAll(() => rmSync(folder, { recursive: true }));

  /** Runs it where it is to write nothing. */
  function buildNothing(...args: string[]) {
    const { status, stdout, stderr } = spawnSync(process.execPath, [BUILD, ...args], { cwd: folder, encoding: "utf8" });
    expect(readdirSync(folder)).toStrictEqual([]);
    return { status, stdout, stderr };
  }

  test.each([
    [["--bogus", "one"], "Unknown option '--bogus'"],
    [["one", "two"], "Unexpected argument 'two': expected one folder"],
    [["one", "--quiet=yes"], "Option '--quiet' does not take an argument"],
  ])("that is given %j says what is wrong, and how it is used", (args, says) => {
    const usage = "usage: npm run build [-- [folder] [--quiet]]; --help says more";
    expect(buildNothing(...args)).toStrictEqual({ status: 2, stdout: "", stderr: `${says}\n${usage}\n` });
  });

  test("has help, with every file and every option, and builds nothing for it", () => {
    const { status, stdout, stderr } = buildNothing("one", "--quiet", "--help");
    expect([status, stderr]).toStrictEqual([0, ""]);
    expect(stdout).toMatch(/^usage: npm run build \[-- \[folder\] \[--quiet\]\]\n/);
    for (const name of DIST_FILES) expect(stdout).toContain(name);
    expect(stdout.match(/^ {2}--\w+/gm)).toStrictEqual(["  --quiet", "  --help"]);
  });
});
