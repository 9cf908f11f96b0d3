import { readFileSync } from "node:fs";
import { describe, expect, test, vi } from "vitest";
import { HANDLER } from "../../build.mjs";
import { runHere } from "../helpers/command-here.ts";

// What the commands make of their arguments, in this process: the tests of the build run them as npm does.

vi.mock("./build.ts", () => ({
  buildDist() {
    throw new Error("the command begins its work");
  },
}));

const USAGE = {
  bench:
    "usage: npm run bench -- [--json] | npm run bench -- storm [--users N] [--seconds S] [--older N] [--scale F] [--devices N] | [--help]",
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
    const settings = [...readFileSync(HANDLER, "utf8").matchAll(/^ {2}([A-Z_]+): \{ byDefault/gm)];
    const { stdout } = await runHere("demo", ["--help"]);
    expect(settings.length).toBeGreaterThan(0);
    expect(stdout).toContain(`${settings.map(([, name]) => name).join(", ")}.`);
  });
});
