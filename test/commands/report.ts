/** What the benchmarks and the fuzzing share: tables on standard output, progress on standard error, arguments. */

let shownKind = "";

/** Returns the number in a command's argument; ends the command where it is none, or below the least possible. */
export function numberFrom(argument: string, least: number): number {
  const number = Number(argument);
  if (argument.trim() !== "" && number >= least) return number;
  console.error(`expected a number from ${least}, got "${argument}"`);
  process.exit(2);
}

export function table(header: string[], rows: string[][]): void {
  const widths = header.map((title, i) => Math.max(title.length, ...rows.map((row) => row[i]?.length ?? 0)));
  for (const row of [header, ...rows]) {
    const cells = row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0)));
    console.log(cells.join("  "));
  }
}

export function ratio(figure: number | undefined, base: number | undefined): string {
  return figure === undefined || !base ? "" : `${(figure / base).toFixed(2)}x`;
}

export function count(n: number): string {
  return n.toLocaleString("en");
}

/** Returns the middle one, or NaN of none. */
export function median(figures: number[]): number {
  return figures.toSorted((x, y) => x - y)[Math.floor(figures.length / 2)] ?? Number.NaN;
}

/** Tells on standard error what is being measured: on one line, or where that is no terminal, each kind of thing once. */
export function progress(kind: string, detail = ""): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${kind}${detail}`);
  else if (kind !== shownKind && kind !== "") process.stderr.write(`${kind} ...\n`);
  shownKind = kind;
}

export function note(text: string): void {
  progress("");
  process.stderr.write(`${text}\n`);
}
