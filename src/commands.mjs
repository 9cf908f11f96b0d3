// What the preview, the build and the other commands share, as a file that Node runs as it is.

import process from "node:process";

/**
 * Has the process end where its output has nowhere to go: without a word if nobody reads on (`| head -1`), and with a
 * sentence if it cannot be written (a full disk).
 */
export function endWithOutput() {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on("error", (/** @type {NodeJS.ErrnoException} */ { code, message }) => {
      if (code === "EPIPE") process.exit();
      process.stderr.write(`The output cannot be written: ${message}\n`);
      process.exit(1);
    });
  }
}

/**
 * Returns what parseArgs says is wrong: its first sentence, without the full stop. What follows is advice on arguments that no
 * command takes, and each shows its usage.
 *
 * @param {unknown} error
 */
export function wrongArgument(error) {
  return String(error instanceof Error ? error.message : error).replace(/\.(\s.*)?$/s, "");
}
