/** A rule of CloudWatch Contributor Insights in miniature, as far as AWS documents its form and the template uses it. */

import assert from "node:assert/strict";

interface Rule {
  Schema: { Name: string; Version: number };
  LogGroupNames: string[];
  LogFormat: string;
  Contribution: { Keys: string[]; Filters: Filter[] };
  AggregateOn: string;
}
interface Filter {
  Match: string;
  In: string[];
}

/** Reads the body of a rule; throws where CloudWatch would refuse it, and where it has what is not known here. */
export function readRule(body: string): Rule {
  assert.match(body, /^[\x20-\x7e]{1,8192}$/);
  const rule: Rule = JSON.parse(body);
  const { Keys, Filters, ...others } = rule.Contribution;
  assert.deepEqual(
    { ...rule, Contribution: others },
    {
      Schema: { Name: "CloudWatchLogRule", Version: 1 },
      LogGroupNames: rule.LogGroupNames,
      LogFormat: "JSON",
      Contribution: {},
      AggregateOn: "Count",
    },
  );
  assert.ok(rule.LogGroupNames.length > 0);
  assert.ok(Keys.length >= 1 && Keys.length <= 4);
  assert.ok(Filters.length <= 4);
  for (const path of [...Keys, ...Filters.map(({ Match }) => Match)]) assert.match(path, /^\$(\.[A-Za-z0-9]+)+$/);
  for (const filter of Filters) {
    assert.deepEqual(Object.keys(filter), ["Match", "In"]);
    assert.ok(filter.In.length >= 1 && filter.In.length <= 10);
  }
  return rule;
}

/**
 * Counts log entries, each a line of JSON, by contributor. A value that no entry has is one that nobody writes. What CloudWatch makes of an entry without a key, or with an empty
 * one, is not documented: none that the filters let through may be so.
 */
export function contributorsOf({ Contribution: { Keys, Filters } }: Rule, lines: string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  const entries: unknown[] = lines.map((line) => JSON.parse(line));
  for (const { Match, In } of Filters) {
    const found = new Set(entries.map((entry) => valueAt(entry, Match)));
    for (const value of In) assert.ok(found.has(value), `no entry has ${value} as ${Match}`);
  }
  for (const entry of entries) {
    if (!Filters.every(({ Match, In }) => In.includes(String(valueAt(entry, Match))))) continue;
    const values = Keys.map((key) => valueAt(entry, key));
    for (const value of values) assert.ok(typeof value === "string" && value !== "", JSON.stringify(entry));
    const contributor = values.join(", ");
    counts[contributor] = (counts[contributor] ?? 0) + 1;
  }
  return counts;
}

/** Returns what is at a path such as `$.message.user`. */
export function valueAt(entry: unknown, path: string): unknown {
  return path
    .split(".")
    .slice(1)
    .reduce((value: unknown, name) => Object(value)[name], entry);
}
