import { execFileSync, spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { TestProject } from "vitest/node";

declare module "vitest" {
  export interface ProvidedContext {
    /** What the build prints. */
    printedByBuild: string;
    /** The names of the handler's settings. */
    settings: string[];
  }
}

/** Builds before any test, as a command of its own would: what is tested is not yesterday's dist/. */
export default function build({ provide }: TestProject): void {
  const pathOf = (name: string) => fileURLToPath(new URL(`../${name}`, import.meta.url));
  // One test builds once more, elsewhere on earth, and names no folder.
  const env = { ...process.env, TZ: "Pacific/Midway" };
  const printed = execFileSync(process.execPath, [pathOf("build.mjs"), pathOf("dist")], { env, encoding: "utf8" });
  provide("printedByBuild", printed);
  provide("settings", settingsOf(pathOf("dist/index.cjs")));
}

/** Asks the built file itself: where every variable that it reads has a value that no setting takes, it names each one. */
function settingsOf(file: string): string[] {
  const script = 'process.env = new Proxy({}, { get: () => "," }); require(process.argv[1]).handler();';
  const { stderr } = spawnSync(process.execPath, ["-e", script, file], { encoding: "utf8" });
  return [...stderr.matchAll(/wrong setting: (\w+):/g)].map(([, name = ""]) => name);
}
