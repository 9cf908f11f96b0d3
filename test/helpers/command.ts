import { spawnSync } from "node:child_process";
import { createRequire } from "node:module";
import { fileURLToPath, pathToFileURL } from "node:url";

/** What has Node run TypeScript as npm run does with tsx, but without a process for tsx itself. */
export const TSX = pathToFileURL(createRequire(import.meta.url).resolve("tsx")).href;

/**
 * Runs one of the commands as npm does, but on dist/ as it is and with these environment variables besides, and returns its
 * exit code and what it printed.
 */
export function runCommandWith(env: Record<string, string>, name: "bench" | "demo", ...args: string[]) {
  const file = fileURLToPath(new URL(`../commands/${name}.ts`, import.meta.url));
  const { status, stdout, stderr } = spawnSync(process.execPath, ["--import", TSX, file, ...args], {
    encoding: "utf8",
    env: { ...process.env, DIST_IS_BUILT: "true", ...env },
  });
  return { status, stdout, stderr };
}
