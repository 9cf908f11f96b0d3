import { execFile } from "node:child_process";
import { copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, vi } from "vitest";
import { TSX } from "./command.ts";
import { DIST } from "./lambda.ts";

const SOURCE = fileURLToPath(new URL("../../src/preview.ts", import.meta.url));
const TERMINAL = "data:text/javascript,process.stdout.isTTY = process.stderr.isTTY = true";

export interface Run {
  /** As npm runs it, or the built file by itself; by default, the built file. */
  from?: "source" | "built";
  /** Whether it takes its output for a terminal. */
  isTerminal?: boolean;
}

/** Gives the tests of a file the preview, in a folder with nothing else, with these variables and no others. */
export function usePreview(env: () => Record<string, string>) {
  // A test may start several processes, each of which loads the SDK.
  vi.setConfig({ testTimeout: 120_000 });
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
    { from = "built", isTerminal = false }: Run = {},
  ) {
    const imports = [...(from === "source" ? [TSX] : []), ...(isTerminal ? [TERMINAL] : [])];
    const file = from === "source" ? SOURCE : "preview.mjs";
    const { PATH = "" } = process.env;
    const all = { PATH, HOME: folder, AWS_EC2_METADATA_DISABLED: "true", ...env(), ...variables };
    return await new Promise<{ status: number | string; stdout: string; stderr: string }>((resolve) => {
      execFile(
        process.execPath,
        [...imports.flatMap((module) => ["--import", module]), file, ...args],
        { cwd: folder, env: Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined)) },
        (error, stdout, stderr) => resolve({ status: error === null ? 0 : (error.code ?? "signal"), stdout, stderr }),
      );
    });
  };
}
