import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";

/** Builds before any test, as a command of its own would: what is tested is not yesterday's dist/. */
export default function build(): void {
  const script = fileURLToPath(new URL("../build.mjs", import.meta.url));
  // The tests build once more, elsewhere on earth.
  const env = { ...process.env, TZ: "Pacific/Midway" };
  execFileSync(process.execPath, [script, "--quiet"], { env, stdio: "inherit" });
}
