/** What the commands share to read their arguments. Each has one table of options, for parseArgs and for its help. */

import { type ParseArgsConfig, parseArgs } from "node:util";
import { endWithOutput, wrongArgument } from "../../src/commands.mjs";

interface Option {
  type: "string" | "boolean";
  /** What stands for its value in the help. */
  value?: string;
  meaning: string;
  default?: string;
}

/** A command: what parseArgs takes, and what its help says besides. */
export interface Command extends ParseArgsConfig {
  /** One line. */
  usage: string;
  /** What it does. */
  does: string;
  options: Record<string, Option>;
}

let usage = "";

/** Returns what parseArgs makes of the arguments. Ends the command where they ask for help, or are not what it takes. */
export function readArguments<const T extends Command>(command: T): ReturnType<typeof parseArgs<T>> {
  endWithOutput();
  usage = `usage: ${command.usage}`;
  if (process.argv.slice(2).includes("--help")) {
    console.log(helpOf(command));
    process.exit(0);
  }
  try {
    return parseArgs(command);
  } catch (error) {
    endWrongUse(wrongArgument(error));
  }
}

function helpOf({ does, options }: Command): string {
  const all: Record<string, Option> = { ...options, help: { type: "boolean", meaning: "show this, and do nothing" } };
  const rows = Object.entries(all).map(([name, { value = "", meaning, default: byDefault }]) => ({
    option: `--${name} ${value}`.trim(),
    text: byDefault === undefined ? meaning : `${meaning} (default: ${byDefault})`,
  }));
  const width = Math.max(...rows.map(({ option }) => option.length));
  return [usage, "", does, "", ...rows.map(({ option, text }) => `  ${option.padEnd(width)}  ${text}`)].join("\n");
}

/** Returns the integer that a flag was given. */
export function integerFrom(flag: string, text: string, least: number): number {
  const number = numberOf(text);
  return Number.isSafeInteger(number) && number >= least ? number : endWithout("an integer", flag, text, least);
}

/** Returns the number that a flag was given. */
export function numberFrom(flag: string, text: string, least: number): number {
  const number = numberOf(text);
  return Number.isFinite(number) && number >= least ? number : endWithout("a number", flag, text, least);
}

/** Number() alone takes no text for 0. */
function numberOf(text: string): number {
  return text.trim() === "" ? Number.NaN : Number(text);
}

function endWithout(expected: string, flag: string, text: string, least: number): never {
  endWrongUse(`${flag}: expected ${expected} from ${least}, got "${text}"`);
}

/** Ends the command with what is wrong with its arguments, and its usage. */
export function endWrongUse(what: string): never {
  console.error(`${what}\n${usage}`);
  process.exit(2);
}

/** Ends the command with a sentence about what it cannot do, or with an error's message. */
export function endWithFault(fault: unknown): never {
  console.error(fault instanceof Error ? fault.message : fault);
  process.exit(1);
}
