/** What the commands share to report: tables on standard output, progress on standard error. */

let shownKind = "";

/** Prints rows below a header. So many columns from the left hold text, the others numbers, which end at the same place. */
export function table(header: string[], rows: string[][], textColumns = 1): void {
  const widths = header.map((title, i) => Math.max(title.length, ...rows.map((row) => row[i]?.length ?? 0)));
  for (const row of [header, ...rows]) {
    const cells = row.map((cell, i) => (i < textColumns ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0)));
    console.log(cells.join("  ").trimEnd());
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
