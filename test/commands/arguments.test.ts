import { describe, expect, test } from "vitest";
import { runCommand } from "../helpers/command.ts";

const USAGE = {
  bench: "usage: npm run bench -- [--json] | npm run bench -- storm ",
  demo: "usage: npm start [-- event.json]",
  fuzz: "usage: npm run fuzz -- [--runs N] [--seed S] [--lanes L]",
};

describe("a command that is given what it does not take ends with one line and exit code 2:", () => {
  test.each<[name: keyof typeof USAGE, args: string, says: string]>([
    ["demo", "--verbose", USAGE.demo],
    ["demo", "one.json two.json", "npm start takes one file, got 2"],
    ["fuzz", "--bogus", USAGE.fuzz],
    ["fuzz", "faults", USAGE.fuzz],
    ["fuzz", "--runs x", '--runs: expected an integer from 1, got "x"'],
    ["fuzz", "--runs 0", '--runs: expected an integer from 1, got "0"'],
    ["fuzz", "--seed 1.5", '--seed: expected an integer from 0, got "1.5"'],
    ["fuzz", "--lanes Infinity", '--lanes: expected an integer from 1, got "Infinity"'],
    ["bench", "--bogus", USAGE.bench],
    ["bench", "strom", USAGE.bench],
    ["bench", "--users 5", USAGE.bench],
    ["bench", "storm --json", USAGE.bench],
    ["bench", "storm --scale 0", '--scale: expected a number from 0.01, got "0"'],
    ["bench", "storm --users many", '--users: expected an integer from 1, got "many"'],
  ])("%s %s", (name, args, says) => {
    const { status, stdout, stderr } = runCommand(name, ...args.split(" "));
    expect([status, stdout]).toStrictEqual([2, ""]);
    expect(stderr.split("\n")).toStrictEqual([expect.stringContaining(says), ""]);
  });
});
