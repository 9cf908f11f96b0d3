import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { TestProject } from "vitest/node";

declare module "vitest" {
  export interface ProvidedContext {
    /** What the build prints. */
    printedByBuild: string;
  }
}

/** Builds before any test, as a command of its own would: what is tested is not yesterday's dist/. */
export default function build({ provide }: TestProject): void {
  const pathOf = (name: string) => fileURLToPath(new URL(`../${name}`, import.meta.url));
  // One test builds once more, elsewhere on earth, and names no folder.
  const env = { ...process.env, TZ: "Pacific/Midway" };
  const printed = execFileSync(process.execPath, [pathOf("build.mjs"), pathOf("dist")], { env, encoding: "utf8" });
  provide("printedByBuild", printed);
}
