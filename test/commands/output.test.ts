import { spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, existsSync, openSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, onTestFinished, test } from "vitest";
import { ENDPOINT_ID } from "../ec2/server.ts";
import { useEc2 } from "../helpers/built.ts";
import { TSX } from "../helpers/command.ts";
import { DIST } from "../helpers/lambda.ts";

// What becomes of a command whose output has nowhere to go, as a process. npm start stands for all that share how they
// read their arguments.

const ec2 = useEc2();

const file = (name: string) => fileURLToPath(new URL(name, import.meta.url));
const COMMANDS: [name: string, args: string[]][] = [
  ["the preview, built,", [`${DIST}preview.mjs`, ENDPOINT_ID]],
  ["the preview's help", [`${DIST}preview.mjs`, "--help"]],
  ["the build's help", [file("../../build.mjs"), "--help"]],
  ["npm start", ["--import", TSX, file("demo.ts"), file("../helpers/events/alice.json")]],
];

/** Runs Node with this as standard output, and returns its exit code and what it wrote to standard error. */
async function ended(args: string[], stdout: number | "closed") {
  const env = { ...process.env, ...ec2.env, DIST_IS_BUILT: "true" };
  const child = spawn(process.execPath, args, {
    env,
    stdio: ["ignore", stdout === "closed" ? "pipe" : stdout, "pipe"],
  });
  child.stdout?.destroy();
  let stderr = "";
  child.stderr?.on("data", (data) => (stderr += data));
  const [status] = await once(child, "close");
  return { status, stderr };
}

describe.each(COMMANDS)("%s", (_, args) => {
  test("says nothing where nobody reads its output", async () => {
    expect(await ended(args, "closed")).toStrictEqual({ status: 0, stderr: "" });
  });

  test.runIf(existsSync("/dev/full"))("says in a sentence that a disk is full, and fails", async () => {
    const disk = openSync("/dev/full", "w");
    onTestFinished(() => closeSync(disk));
    expect(await ended(args, disk)).toStrictEqual({
      status: 1,
      stderr: expect.stringMatching(/^The output cannot be written: ENOSPC: [^\n]*\n$/),
    });
  });
});
