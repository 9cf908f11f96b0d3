/**
 * CloudWatch Logs Insights in miniature: of its language, what the saved queries and the dashboard use. It refuses the rest,
 * and whatever is not found in the entries: a field, or a text that a field is compared with.
 */

/** A log entry or a line of a result, with the names of fields as Logs Insights has them: `message.errors.0.code`. */
export type Row = Record<string, unknown>;

type Value = (row: Row) => unknown;
type Aggregate = (rows: Row[]) => unknown;

/** Returns which entries the first filter of a query takes, and the lines that the query shows. */
export function runQuery(query: string, entries: Row[]): { taken: Row[]; shown: Row[] } {
  const { taken = [], rows } = new Query(query, entries).run();
  return { taken, shown: rows };
}

/** Returns the fields of a log entry. */
export function rowOf(entry: object, path = ""): Row {
  const fields = Object.entries(entry).map(([name, value]) =>
    typeof value === "object" && value !== null ? rowOf(value, `${path}${name}.`) : { [path + name]: value },
  );
  return Object.assign({}, ...fields);
}

const TOKEN = /\/(?:[^/\\]|\\.)+\/|"[^"]*"|'[^']*'|@?\w+(?:\.\w+)*|[<>]=|[=<>()[\],|*]/g;

class Query {
  readonly #tokens: string[];
  #next = 0;
  taken: Row[] | undefined;

  constructor(
    query: string,
    public rows: Row[],
  ) {
    this.#tokens = query.match(TOKEN) ?? [];
    const unknown = query.replace(TOKEN, "").trim();
    if (unknown !== "") throw notKnown(unknown);
  }

  run() {
    do this.#command();
    while (this.#takes("|"));
    if (this.#next < this.#tokens.length) throw notKnown(this.#take());
    return this;
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
    this.rows = this.rows.filter((row) => isTaken(row) === true);
    this.taken ??= this.rows;
  }

  #fields(): void {
    const columns = this.#list(() => this.#named(() => this.#field(this.#take())));
    this.rows = this.rows.map((row) => mapValues(columns, (value) => value(row)));
  }

  #stats(): void {
    const results = this.#list(() => this.#named(() => this.#aggregate()));
    const keys = this.#takes("by") ? this.#list(() => this.#named(() => this.#operand())) : [];
    const groups = new Map<string, { group: Row; rows: Row[] }>();
    for (const row of this.rows) {
      const group = mapValues(keys, (value) => value(row));
      const known = groups.get(JSON.stringify(group));
      if (known) known.rows.push(row);
      else groups.set(JSON.stringify(group), { group, rows: [row] });
    }
    this.rows = [...groups.values()].map(({ group, rows }) => ({
      ...group,
      ...mapValues(results, (aggregate) => aggregate(rows)),
    }));
  }

  #aggregate(): Aggregate {
    const name = this.#take();
    this.#expect("(");
    if (name === "count") {
      this.#expect("*", ")");
      return (rows) => rows.length;
    }
    const value = this.#product();
    const percentile = name === "pct" ? Number(this.#expect(",").#take()) : 0;
    this.#expect(")");
    const valuesOf = (rows: Row[]) => rows.map(value).filter((one) => one !== undefined);
    if (name === "sum") return (rows) => numbers(valuesOf(rows)).reduce((sum, one) => sum + one, 0);
    if (name === "max") return (rows) => numbers(valuesOf(rows)).reduce((most, one) => Math.max(most, one), 0);
    if (name === "count_distinct") return (rows) => new Set(valuesOf(rows)).size;
    if (name === "earliest") return (rows) => rows.toSorted(by("@timestamp")).map(value)[0];
    if (name === "latest") return (rows) => rows.toSorted(by("@timestamp")).map(value).at(-1);
    if (name === "pct") {
      return (rows) => {
        const sorted = numbers(valuesOf(rows)).sort((a, b) => a - b);
        return sorted[Math.ceil((sorted.length * percentile) / 100) - 1];
      };
    }
    throw notKnown(name);
  }

  #sort(): void {
    const orders = this.#list(() => {
      const field = this.#take();
      this.#field(field);
      const sign = this.#takes("desc") ? -1 : 1;
      this.#takes("asc");
      return (a: Row, b: Row) => sign * by(field)(a, b);
    });
    this.rows = this.rows.toSorted((a, b) => orders.map((order) => order(a, b)).find((sign) => sign !== 0) ?? 0);
  }

  #either(): Value {
    const conditions = [this.#both()];
    while (this.#takes("or")) conditions.push(this.#both());
    return (row) => conditions.some((condition) => condition(row) === true);
  }

  #both(): Value {
    const conditions = [this.#condition()];
    while (this.#takes("and")) conditions.push(this.#condition());
    return (row) => conditions.every((condition) => condition(row) === true);
  }

  #condition(): Value {
    if (this.#takes("(")) {
      const condition = this.#either();
      this.#expect(")");
      return condition;
    }
    const value = this.#product();
    if (this.#takes("in")) {
      this.#expect("[");
      const conditions = this.#list(() => {
        const one = this.#literal();
        return this.#found((row) => value(row) === one);
      });
      this.#expect("]");
      return (row) => conditions.some((condition) => condition(row));
    }
    if (this.#takes("like")) {
      const pattern = new RegExp(this.#take().slice(1, -1));
      return this.#found((row) => pattern.test(String(value(row) ?? "")));
    }
    if (this.#takes("=")) {
      const one = this.#literal();
      return this.#found((row) => value(row) === one);
    }
    const isGreater = this.#takes(">");
    if (isGreater || this.#takes(">=")) {
      const least = Number(this.#literal());
      return this.#found((row) => Number(value(row)) > least || (!isGreater && value(row) === least));
    }
    return value;
  }

  #product(): Value {
    const values = [this.#operand()];
    while (this.#takes("*")) values.push(this.#operand());
    const [first] = values;
    if (first !== undefined && values.length === 1) return first;
    return (row) => numbers(values.map((value) => value(row))).reduce((product, one) => product * one);
  }

  /** A literal, a field or a function of them. */
  #operand(): Value {
    const token = this.#take();
    if (isLiteral(token)) return () => literalOf(token);
    if (!this.#takes("(")) return this.#field(token);
    if (token === "bin") {
      const period = this.#take();
      this.#expect(")");
      const ms = { "15m": 900_000, "1h": 3_600_000 }[period];
      if (ms === undefined) throw notKnown(period);
      return (row) => Math.floor(Date.parse(String(row["@timestamp"])) / ms) * ms;
    }
    const [first = notGiven, second = notGiven] = this.#list(() => this.#operand());
    this.#expect(")");
    if (token === "ispresent") return (row) => first(row) !== undefined;
    if (token === "least") return (row) => Math.min(...numbers([first(row), second(row)]));
    if (token === "strcontains") {
      const contains = this.#found((row) => String(first(row) ?? "").includes(String(second(row))));
      return (row) => Number(contains(row));
    }
    throw notKnown(token);
  }

  #field(name: string): Value {
    if (!this.rows.some((row) => name in row)) throw new Error(`no entry has the field ${name}`);
    return (row) => row[name];
  }

  #literal(): string | number {
    const token = this.#take();
    if (!isLiteral(token)) throw notKnown(token);
    return literalOf(token);
  }

  /** Returns a condition, for which there has to be an entry that meets it: else its text is one that nobody writes. */
  #found(condition: (row: Row) => boolean): (row: Row) => boolean {
    const words = this.#tokens.slice(Math.max(0, this.#next - 4), this.#next).join(" ");
    if (!this.rows.some(condition)) throw new Error(`no entry is found by … ${words}`);
    return condition;
  }

  /** Reads something and the name that it gets, by default its own text. */
  #named<T>(read: () => T): [name: string, value: T] {
    const start = this.#next;
    const value = read();
    const text = this.#tokens.slice(start, this.#next).join("");
    return [this.#takes("as") ? this.#take() : text, value];
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

  #expect(...tokens: string[]): this {
    for (const token of tokens) if (!this.#takes(token)) throw notKnown(this.#take());
    return this;
  }
}

const notKnown = (what: string) =>
  new Error(`Logs Insights in miniature does not know this here: ${what || "the end"}`);

const notGiven: Value = () => {
  throw new Error("an argument is missing");
};

const isLiteral = (token: string) => /^["'\d]/.test(token);
const literalOf = (token: string) => (/^\d/.test(token) ? Number(token) : token.slice(1, -1));

function numbers(values: unknown[]): number[] {
  return values.map((value) => {
    if (typeof value !== "number") throw new Error(`expected a number, got ${value}`);
    return value;
  });
}

/** Orders rows by a field. */
function by(field: string) {
  return ({ [field]: a }: Row, { [field]: b }: Row): number => {
    if (typeof a === "number" && typeof b === "number") return a - b;
    if (typeof a === "string" && typeof b === "string") return Number(a > b) - Number(a < b);
    throw new Error(`cannot order ${a} and ${b} by ${field}`);
  };
}

function mapValues<T>(named: [name: string, value: T][], result: (value: T) => unknown): Row {
  return Object.fromEntries(named.map(([name, value]) => [name, result(value)]));
}
