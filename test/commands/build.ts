import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { endWithFault } from "./arguments.ts";

/** Makes dist/ anew, for a command that has read its arguments; ends the command where that cannot be done. */
export function buildDist(): void {
  // The tests have built it, and read it meanwhile.
  if (process.env.DIST_IS_BUILT === "true") return;
  const script = fileURLToPath(new URL("../../build.mjs", import.meta.url));
  // Standard output is the command's own.
  const { status } = spawnSync(process.execPath, [script, "--quiet"], { stdio: ["ignore", 2, 2] });
  if (status !== 0) endWithFault("The files in dist/ could not be built: see above. Mend that first.");
}
