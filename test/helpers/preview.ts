import { execFile } from "node:child_process";
import { copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, vi } from "vitest";
import { run } from "../../src/preview/command.ts";
import { TSX } from "./command.ts";
import { DIST } from "./lambda.ts";

const TERMINAL = "data:text/javascript,process.stdout.isTTY = process.stderr.isTTY = true";
const SOURCE = fileURLToPath(new URL("../../src/preview/command.ts", import.meta.url));

export interface Run {
  /** A process of its own, as npm runs it, or with the built file; by default, the test's own process. */
  from?: "source" | "built";
  /** Whether it takes its output for a terminal. */
  isTerminal?: boolean;
}

interface Ended {
  /** The exit code. */
  status: number | string;
  stdout: string;
  stderr: string;
}

/** Gives the tests of a file the preview, in a folder with nothing else, with these variables and no others. */
export function usePreview(env: () => Record<string, string>) {
  let folder = "";
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "client-vpn-preview-"));
    copyFileSync(`${DIST}preview.mjs`, join(folder, "preview.mjs"));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  /** Returns its exit code and what it printed; `variables` are added to the others, and undefined ones left out. */
  return async function preview(
    args: string[],
    variables: Record<string, string | undefined> = {},
    { from, isTerminal = false }: Run = {},
  ): Promise<Ended> {
    const { PATH = "" } = process.env;
    const all = { PATH, HOME: folder, AWS_EC2_METADATA_DISABLED: "true", ...env(), ...variables };
    const defined = Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
    if (from === undefined) return await runHere(args, defined, isTerminal);
    const imports = [...(from === "source" ? [TSX] : []), ...(isTerminal ? [TERMINAL] : [])];
    const file = from === "source" ? SOURCE : "preview.mjs";
    const words = [...imports.flatMap((module) => ["--import", module]), file, ...args];
    return await new Promise((resolve) => {
      execFile(process.execPath, words, { cwd: folder, env: defined }, (error, stdout, stderr) =>
        resolve({ status: error === null ? 0 : (error.code ?? "signal"), stdout, stderr }),
      );
    });
  };
}

/** Runs it in this process, with this environment. What it or the SDK writes to the console counts as standard error. */
async function runHere(args: string[], env: Record<string, string | undefined>, isTTY: boolean): Promise<Ended> {
  let stdout = "";
  let stderr = "";
  const own = process.env;
  const spies = [
    ...(["debug", "info", "log", "warn", "error"] as const).map((level) => vi.spyOn(console, level)),
    vi.spyOn(process, "emitWarning"),
  ];
  for (const spy of spies) {
    spy.mockImplementation((...message: unknown[]) => {
      stderr += `${message.join(" ")}\n`;
    });
  }
  // The handler reads its settings when it is loaded.
  vi.resetModules();
  process.env = env;
  try {
    const status = await run(
      args,
      { isTTY, write: (text) => (stdout += text) },
      { isTTY, write: (text) => (stderr += text) },
    );
    return { status, stdout, stderr };
  } finally {
    process.env = own;
    for (const spy of spies) spy.mockRestore();
  }
}
