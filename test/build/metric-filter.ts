/** CloudWatch Logs' metric filters in miniature: of their patterns, what the template uses. It refuses the rest. */

import { valueAt } from "./insight-rule.ts";

/**
 * Returns the entries, each a line of JSON, that a pattern takes: `{ $.message.field = "text" && $.message.field > 0 }`. Each of
 * its conditions has to be met by one of them: else it looks for what nobody writes.
 */
export function takenBy(pattern: string, entries: string[]): string[] {
  const [, conditions] = /^\{ (.+) \}$/.exec(pattern) ?? [];
  if (conditions === undefined) throw notKnown(pattern);
  const tests = conditions.split(" && ").map((condition) => {
    const [, path, sign, value] = /^(\$(?:\.\w+)+) (=|>|>=) ("[^"]*"|\d+)$/.exec(condition) ?? [];
    if (path === undefined || value === undefined) throw notKnown(condition);
    const expected: string | number = JSON.parse(value);
    const isMet = (entry: string) => {
      const actual = valueAt(JSON.parse(entry), path);
      const isMore = typeof actual === "number" && actual > Number(expected);
      return sign === "=" ? actual === expected : isMore || (sign === ">=" && actual === expected);
    };
    if (!entries.some(isMet)) throw new Error(`no entry is found by ${condition}`);
    return isMet;
  });
  return entries.filter((entry) => tests.every((isMet) => isMet(entry)));
}

const notKnown = (what: string) => new Error(`the metric filters in miniature do not know this: ${what}`);
