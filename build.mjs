// Makes from src/handler.ts, in dist/ or in the folder given as argument:
//   index.mjs     the handler with the AWS SDK inside, minified
//   function.zip  index.mjs alone, to upload
//   paste.mjs     the handler to read and to paste, which imports the AWS SDK that the Lambda runtime carries

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import * as esbuild from "esbuild";
import { zipSync } from "fflate";

const ROOT = dirname(fileURLToPath(import.meta.url));
const HANDLER = join(ROOT, "src", "handler.ts");

/** Bundles the handler with the AWS SDK. */
async function bundle() {
  const { outputFiles } = await esbuild.build({
    entryPoints: [HANDLER],
    absWorkingDir: ROOT,
    bundle: true,
    minify: true,
    platform: "node",
    target: "node20",
    format: "esm",
    // The SDK's ES modules: its CommonJS files call require(), which an ES module does not have.
    mainFields: ["module", "main"],
    legalComments: "none",
    write: false,
  });
  const [output] = outputFiles;
  if (output === undefined) throw new Error("esbuild wrote nothing");
  return output.contents;
}

/**
 * Zips one file so that the same content gives the same bytes everywhere: fflate brings its own compression, and time
 * and file mode are fixed. The time is given in local time because a zip holds local time.
 *
 * @param {string} name
 * @param {Uint8Array} content
 */
function zip(name, content) {
  const readableByAll = 0o100644 << 16;
  const mtime = new Date(1980, 0, 1, 12);
  return zipSync({ [name]: [content, { level: 9, mtime, os: 3, attrs: readableByAll }] });
}

/**
 * Takes the types out of the handler. The TypeScript compiler does it because esbuild drops the comments, which whoever
 * reads the pasted file needs as much as we do; the blank lines, which the compiler drops, are put back.
 *
 * @param {string} folder for the compiler's output
 */
function stripTypes(folder) {
  const compiler = join(ROOT, "node_modules", "typescript", "bin", "tsc");
  const options = "--ignoreConfig --noCheck --target es2022 --module nodenext --moduleDetection force".split(" ");
  execFileSync(process.execPath, [compiler, ...options, "--outDir", folder, HANDLER], { stdio: "inherit" });
  const compiled = join(folder, "handler.js");
  const code = readFileSync(compiled, "utf8");
  rmSync(compiled);
  const header = "// AWS Client VPN session handler, to paste into the Lambda console's editor as index.mjs.\n";
  return header + code.replace(/^(?=\/\*\*)|(?<=^\}\)*;?\n)(?=\w)/gm, "\n");
}

const folder = resolve(process.argv[2] ?? join(ROOT, "dist"));
mkdirSync(folder, { recursive: true });

const index = await bundle();
const archive = zip("index.mjs", index);
/** @type {[name: string, content: Uint8Array, use: string][]} */
const artifacts = [
  ["index.mjs", index, "the handler with the AWS SDK inside"],
  ["function.zip", archive, "index.mjs alone, to upload"],
  ["paste.mjs", Buffer.from(stripTypes(folder)), "the handler without the SDK, to read and to paste"],
];
for (const [name, content, use] of artifacts) {
  writeFileSync(join(folder, name), content);
  const bytes = content.length.toLocaleString("en");
  console.log(`${name.padEnd(12)} ${bytes.padStart(9)} bytes  ${use}`);
}
console.log(
  `\nLambda will show this CodeSha256 for function.zip:\n${createHash("sha256").update(archive).digest("base64")}`,
);
