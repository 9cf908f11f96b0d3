/**
 * CloudWatch Logs Insights in miniature: of its language, what the saved queries and the dashboard use. It refuses the rest,
 * and a condition that no entry meets: that looks for what nobody writes.
 */

/** A log entry or a line of a result, with the names of fields as Logs Insights has them: `message.errors.0.code`. */
export type Row = Record<string, unknown>;

type Value = (row: Row) => unknown;
type Literal = string | number | RegExp;

/** Returns the fields of a log entry. */
export function rowOf(entry: object, path = ""): Row {
  const fields = Object.entries(entry).map(([name, value]) =>
    typeof value === "object" && value !== null ? rowOf(value, `${path}${name}.`) : { [path + name]: value },
  );
  return Object.assign({}, ...fields);
}

/** Returns which of the entries, the oldest of which is first, the filter of a query takes, and the lines that it shows. */
export function runQuery(query: string, entries: Row[]): { taken: Row[]; shown: Row[] } {
  const { taken, rows } = new Query(query, entries);
  return { taken: taken ?? [], shown: rows };
}

const TOKEN = /\/(?:[^/\\]|\\.)+\/|"[^"]*"|'[^']*'|`[^`]*`|@?\w+(?:\.\w+)*|[<>]=|[=<>()[\],|*]/g;

const COMPARISONS: Record<string, (value: unknown, literal: Literal) => boolean> = {
  "=": (value, literal) => value === literal,
  in: (value, literal) => value === literal,
  ">": (value, literal) => typeof value === "number" && value > Number(literal),
  ">=": (value, literal) => typeof value === "number" && value >= Number(literal),
  like: (value, literal) => literal instanceof RegExp && literal.test(String(value ?? "")),
};

const FUNCTIONS: Record<string, (...values: unknown[]) => unknown> = {
  ispresent: (value) => value !== undefined,
  least: (...values) => Math.min(...numbers(values)),
  strcontains: (text, part) => Number(String(text ?? "").includes(String(part))),
};

const PERIODS_MS: Record<string, number> = { "15m": 900_000, "1h": 3_600_000, "1d": 86_400_000 };

const present = (values: unknown[]) => values.filter((value) => value !== undefined);
const sorted = (values: unknown[]) => numbers(present(values)).sort((a, b) => a - b);
const AGGREGATES: Record<string, (values: unknown[], percent: number) => unknown> = {
  sum: (values) => sorted(values).reduce((sum, value) => sum + value, 0),
  max: (values) => sorted(values).at(-1),
  pct: (values, percent) => sorted(values)[Math.ceil((values.length * percent) / 100) - 1],
  count_distinct: (values) => new Set(present(values)).size,
  earliest: (values) => values[0],
  latest: (values) => values.at(-1),
  sortsFirst: (values) => present(values).toSorted(order)[0],
  sortsLast: (values) => present(values).toSorted(order).at(-1),
};

class Query {
  readonly #tokens: string[];
  #next = 0;
  /** What the first filter has taken. */
  taken: Row[] | undefined;

  constructor(
    query: string,
    public rows: Row[],
  ) {
    const commands = query.replace(/^#.*$/gm, "");
    this.#tokens = commands.match(TOKEN) ?? [];
    const others = commands.replace(TOKEN, "").trim();
    if (others !== "") throw notKnown(others);
    do this.#command();
    while (this.#takes("|"));
    if (this.#next < this.#tokens.length) throw notKnown(this.#take());
  }

  #command(): void {
    const command = this.#take();
    if (command === "SOURCE") this.#take();
    else if (command === "filter") this.#filter();
    else if (command === "fields") this.#fields();
    else if (command === "stats") this.#stats();
    else if (command === "sort") this.#sort();
    else if (command === "limit") this.rows = this.rows.slice(0, Number(this.#take()));
    else throw notKnown(command);
  }

  #filter(): void {
    const isTaken = this.#either();
    this.rows = this.rows.filter(isTaken);
    this.taken ??= this.rows;
  }

  #fields(): void {
    const columns = this.#list(() => this.#named(() => this.#operand()));
    this.rows = this.rows.map((row) => mapValues(columns, (value) => value(row)));
  }

  #stats(): void {
    const results = this.#list(() => this.#named(() => this.#aggregate()));
    const keys = this.#takes("by") ? this.#list(() => this.#named(() => this.#operand())) : [];
    const groups = new Map<string, { group: Row; rows: Row[] }>();
    for (const row of this.rows) {
      const group = mapValues(keys, (value) => value(row));
      const id = JSON.stringify(group);
      groups.set(id, { group, rows: [...(groups.get(id)?.rows ?? []), row] });
    }
    this.rows = [...groups.values()].map(({ group, rows }) => ({
      ...group,
      ...mapValues(results, (aggregate) => aggregate(rows)),
    }));
  }

  #aggregate(): (rows: Row[]) => unknown {
    const name = this.#take();
    this.#expect("(");
    if (name === "count") {
      this.#expect("*", ")");
      return (rows) => rows.length;
    }
    const value = this.#product();
    const percent = this.#takes(",") ? Number(this.#take()) : 0;
    this.#expect(")");
    const aggregate = knownIn(AGGREGATES, name);
    return (rows) => aggregate(rows.map(value), percent);
  }

  #sort(): void {
    const orders = this.#list(() => {
      const name = this.#take();
      const value = this.#field(name);
      const sign = this.#takes("desc") ? -1 : 1;
      this.#takes("asc");
      return (a: Row, b: Row) => sign * order(value(a), value(b));
    });
    this.rows = this.rows.toSorted((a, b) => orders.map((one) => one(a, b)).find((sign) => sign !== 0) ?? 0);
  }

  #either(): Value {
    const conditions = [this.#both()];
    while (this.#takes("or")) conditions.push(this.#both());
    return (row) => conditions.some((condition) => condition(row));
  }

  #both(): Value {
    const conditions = [this.#condition()];
    while (this.#takes("and")) conditions.push(this.#condition());
    return (row) => conditions.every((condition) => condition(row));
  }

  #condition(): Value {
    if (this.#takes("(")) {
      const condition = this.#either();
      this.#expect(")");
      return condition;
    }
    const start = this.#next;
    const value = this.#product();
    const operator = Object.keys(COMPARISONS).find((one) => this.#takes(one));
    if (operator === undefined) return value;
    const isMet = knownIn(COMPARISONS, operator);
    const read = () => {
      const literal = literalOf(this.#take());
      return this.#found(start, (row) => isMet(value(row), literal));
    };
    if (operator !== "in") return read();
    this.#expect("[");
    const conditions = this.#list(read);
    this.#expect("]");
    return (row) => conditions.some((condition) => condition(row));
  }

  #product(): Value {
    const first = this.#operand();
    const others: Value[] = [];
    while (this.#takes("*")) others.push(this.#operand());
    if (others.length === 0) return first;
    return (row) => numbers([first, ...others].map((value) => value(row))).reduce((product, one) => product * one);
  }

  /** A literal, a field or a function of them. */
  #operand(): Value {
    const start = this.#next;
    const token = this.#take();
    if (LITERAL.test(token)) return () => literalOf(token);
    if (!this.#takes("(")) return this.#field(token);
    if (token === "bin") {
      const ms = knownIn(PERIODS_MS, this.#take());
      this.#expect(")");
      return (row) => Math.floor(Date.parse(String(row["@timestamp"])) / ms);
    }
    const apply = knownIn(FUNCTIONS, token);
    const values = this.#list(() => this.#operand());
    this.#expect(")");
    return this.#found(start, (row) => apply(...values.map((value) => value(row))));
  }

  #field(token: string): Value {
    const name = nameIn(token);
    const value: Value = (row) => row[name];
    this.#found(this.#next - 1, (row) => value(row) !== undefined);
    return value;
  }

  /** Returns a condition or a number, after a look for a row that meets it, or of which it is not 0. */
  #found(start: number, value: Value): Value {
    const text = this.#tokens.slice(start, this.#next).join(" ");
    if (!this.rows.some(value)) throw new Error(`no entry is found by: ${text}`);
    return value;
  }

  /** Reads something and the name that it gets, by default its own text. */
  #named<T>(read: () => T): [name: string, value: T] {
    const start = this.#next;
    const value = read();
    const text = this.#tokens.slice(start, this.#next).join("");
    return [this.#takes("as") ? this.#take() : text.replaceAll("`", ""), value];
  }

  #list<T>(read: () => T): T[] {
    const list = [read()];
    while (this.#takes(",")) list.push(read());
    return list;
  }

  #take(): string {
    return this.#tokens[this.#next++] ?? "";
  }

  #takes(token: string): boolean {
    const isNext = this.#tokens[this.#next] === token;
    if (isNext) this.#next++;
    return isNext;
  }

  #expect(...tokens: string[]): void {
    for (const token of tokens) if (!this.#takes(token)) throw notKnown(this.#take());
  }
}

const notKnown = (what: string) =>
  new Error(`Logs Insights in miniature does not know this here: ${what || "the end"}`);

function knownIn<T>(table: Record<string, T>, name: string): T {
  const known = table[name];
  if (known === undefined) throw notKnown(name);
  return known;
}

/** A name needs backticks if it has other characters than these. That others may have them is not documented. */
function nameIn(token: string): string {
  const [, quoted] = /^`(.*)`$/.exec(token) ?? [];
  if (quoted !== undefined && /^@?[\w.]*$/.test(quoted)) throw notKnown(token);
  return quoted ?? token;
}

const LITERAL = /^["'/\d]/;

function literalOf(token: string): Literal {
  if (!LITERAL.test(token)) throw notKnown(token);
  if (/^\d/.test(token)) return Number(token);
  const text = token.slice(1, -1);
  if (!token.startsWith("/")) return text;
  return text.startsWith("(?i)") ? new RegExp(text.slice(4), "i") : new RegExp(text);
}

function numbers(values: unknown[]): number[] {
  return values.map((value) => {
    if (typeof value !== "number") throw new Error(`expected a number, got ${value}`);
    return value;
  });
}

function order(a: unknown, b: unknown): number {
  if (typeof a === "number" && typeof b === "number") return a - b;
  if (typeof a === "string" && typeof b === "string") return Number(a > b) - Number(a < b);
  throw new Error(`cannot order ${a} and ${b}`);
}

function mapValues<T>(named: [name: string, value: T][], result: (value: T) => unknown): Row {
  return Object.fromEntries(named.map(([name, value]) => [name, result(value)]));
}
