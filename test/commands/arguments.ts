/** What the commands share to read their arguments. Whatever they cannot read ends them with one line and exit code 2. */

import { type ParseArgsConfig, parseArgs } from "node:util";

/** Returns what parseArgs makes of the arguments; where they are not what the command takes, ends it with its usage. */
export function readArguments<T extends ParseArgsConfig>(usage: string, config: T): ReturnType<typeof parseArgs<T>> {
  try {
    return parseArgs(config);
  } catch {
    endWith(`usage: ${usage}`);
  }
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
  endWith(`${flag}: expected ${expected} from ${least}, got "${text}"`);
}

export function endWith(line: string): never {
  console.error(line);
  process.exit(2);
}
