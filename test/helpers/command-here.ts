import { fileURLToPath } from "node:url";
import { vi } from "vitest";

// The process is the tests' own: what becomes of its output is tested with processes.
vi.mock(import("../../src/commands.mjs"), async (actual) => ({ ...(await actual()), endWithOutput() {} }));

/** What is thrown where a command ends its process. */
class Exit extends Error {
  constructor(readonly status: unknown) {
    super();
  }
}

let runs = 0;

/**
 * Runs one of the commands in this process, on dist/ as it is and with these environment variables besides, and returns its
 * exit code and what it printed.
 */
export async function runHere(name: "bench" | "demo" | "fuzz", args: string[], env: Record<string, string> = {}) {
  const printed = { log: "", error: "" };
  const spies = [
    ...(["log", "error"] as const).map((level) =>
      vi.spyOn(console, level).mockImplementation((line = "") => {
        printed[level] += `${line}\n`;
      }),
    ),
    vi.spyOn(process, "exit").mockImplementation((status) => {
      throw new Exit(status);
    }),
  ];
  const { argv, exitCode } = process;
  const file = fileURLToPath(new URL(`../commands/${name}.ts`, import.meta.url));
  process.argv = [process.execPath, file, ...args];
  process.exitCode = 0;
  for (const [variable, value] of Object.entries({ DIST_IS_BUILT: "true", ...env })) vi.stubEnv(variable, value);
  let status: unknown;
  try {
    // Another address each time, so that it is loaded anew.
    await import(/* @vite-ignore */ `${file}?${++runs}`);
    status = process.exitCode;
  } catch (error) {
    if (!(error instanceof Exit)) throw error;
    status = error.status;
  } finally {
    vi.unstubAllEnvs();
    process.argv = argv;
    process.exitCode = exitCode;
    for (const spy of spies) spy.mockRestore();
  }
  return { status, stdout: printed.log, stderr: printed.error };
}
