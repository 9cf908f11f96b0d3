// Makes from src/, in dist/ or in the folder given as argument, quietly with --quiet:
//   index.cjs     the handler with the AWS SDK inside, minified
//   function.zip  index.cjs alone, to upload
//   paste.mjs     the handler to read and to paste, which imports the AWS SDK that the Lambda runtime carries
//   stack.yaml    src/stack.yaml with index.cjs, src/dashboard.json and the version inside: a CloudFormation template
//                 that sets up everything
//   preview.mjs   src/preview/ with the handler and the AWS SDK inside: a look at an endpoint before it is set up
//
// Most of the AWS SDK is code that this handler cannot reach, and Lambda would load it at every cold start. esbuild drops
// what it can see to be unused. SDK_STEPS take care of the rest: each rewrites one module of the SDK on its way into the
// bundle, and stops the build if that module is not what the step was written for.

import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import * as esbuild from "esbuild";
import { zipSync } from "fflate";
import { endWithOutput, wrongArgument } from "./src/commands.mjs";

const ROOT = dirname(fileURLToPath(import.meta.url));
export const HANDLER = join(ROOT, "src", "handler.ts");
const PREVIEW = join(ROOT, "src", "preview", "command.ts");
export const STACK = join(ROOT, "src", "stack.yaml");
export const DASHBOARD = join(ROOT, "src", "dashboard.json");

/**
 * What the files may weigh, in bytes: a little more than they do. A file over its budget most likely means that an SDK
 * release has undone a step or brought something new; the build then lists what is in the bundle.
 */
const BUDGET = { "index.cjs": 158_000, "function.zip": 58_000, "stack.yaml": 214_000 };

/**
 * @typedef {object} SdkStep
 * @property {string} name
 * @property {string} module the end of the path
 * @property {(code: string) => string} rewrite throws if it does not know the code
 */

/** @type {SdkStep[]} */
export const SDK_STEPS = [
  {
    // The file describes every shape of EC2, some 2,200, as constant arrays. Their objects have computed keys, { [_xN]: 1 },
    // which might have side effects for all that esbuild knows, so it keeps all of them. With the keys written as the
    // strings that they stand for, the shapes that this handler does not use fall away.
    name: "write the schema's keys as literals",
    module: "@aws-sdk/client-ec2/dist-es/schemas/schemas_0.js",
    rewrite(code) {
      const strings = new Map();
      for (const [, name, string] of code.matchAll(/^const (\w+) = ("[^"\\]*");$/gm)) strings.set(name, string);
      return replaceAll(code, /\[(_\w+)\]:/g, (key, name) => {
        if (!strings.has(name)) throw new Error(`the key ${key} is not a string constant of the file`);
        return `${strings.get(name)}:`;
      });
    },
  },
  {
    // The chain also knows SSO, STS, web identity, files, processes and instance metadata. Lambda puts the role's credentials
    // into the environment.
    name: "take credentials from the environment alone",
    module: "@aws-sdk/credential-provider-node/dist-es/index.js",
    rewrite: (code) =>
      replaceExports(
        code,
        ["defaultProvider"],
        'export { fromEnv as defaultProvider } from "@aws-sdk/credential-provider-env";',
      ),
  },
  {
    // EC2 has no operation with an event stream. Nothing is to call the class; if something does after all, the log has
    // the reason.
    name: "leave out event streams",
    module: "@smithy/core/dist-es/submodules/event-streams/index.js",
    rewrite: (code) =>
      replaceExports(
        code,
        ["EventStreamSerde"],
        'export function EventStreamSerde() { throw new Error("event streams were left out of the bundle"); }',
      ),
  },
  {
    // Lambda has no ~/.aws: this is what the function returns where there are no such files, without looking for them.
    name: "take settings from the environment alone",
    module: "@smithy/core/dist-es/submodules/config/shared-ini-file-loader/loadSharedConfigFiles.js",
    rewrite: (code) =>
      replaceExports(
        code,
        ["loadSharedConfigFiles", "CONFIG_PREFIX_SEPARATOR"],
        "export const loadSharedConfigFiles = async () => ({ configFile: {}, credentialsFile: {} });" +
          'export const CONFIG_PREFIX_SEPARATOR = ".";',
      ),
  },
];

/**
 * Returns `replacement` for a module that does export all of `names`. An export that the replacement lacks and another
 * module imports is an error of esbuild's.
 *
 * @param {string} code
 * @param {string[]} names
 * @param {string} replacement
 */
function replaceExports(code, names, replacement) {
  for (const name of names) {
    const exported = new RegExp(`^export (?:(?:class|const|function) ${name}\\b|\\{[^}]*\\b${name}\\b[^}]*\\})`, "m");
    if (!exported.test(code)) throw new Error(`there is no export ${name}`);
  }
  return replacement;
}

/**
 * @param {string} code
 * @param {RegExp} pattern
 * @param {(match: string, ...groups: string[]) => string} replacement
 */
export function replaceAll(code, pattern, replacement) {
  if (code.search(pattern) === -1) throw new Error(`there is no ${pattern}`);
  return code.replace(pattern, replacement);
}

/**
 * Applies the steps while bundling, and fails where one of them found no module to rewrite.
 *
 * @param {SdkStep[]} steps
 * @returns {esbuild.Plugin}
 */
function sdkSteps(steps) {
  return {
    name: "sdk-steps",
    setup(build) {
      const done = new Set();
      for (const step of steps) {
        // With a filter for every file, esbuild would wait for this process at each of them.
        const filter = new RegExp(`/${step.module}$`.replaceAll("/", "[/\\\\]"));
        build.onLoad({ filter }, ({ path }) => {
          done.add(step);
          try {
            return { contents: step.rewrite(readFileSync(path, "utf8")), loader: "default" };
          } catch (error) {
            return { errors: [{ text: `cannot ${step.name}: ${error instanceof Error ? error.message : error}` }] };
          }
        });
      }
      build.onEnd(({ errors }) => {
        if (errors.length > 0) return;
        const undone = steps.filter((step) => !done.has(step));
        const advice =
          "If the SDK has moved it, correct the step's `module` in build.mjs; if it is gone, remove the step.";
        return {
          errors: undone.map(({ name, module }) => ({ text: `cannot ${name}: nothing imports ${module}. ${advice}` })),
        };
      });
    },
  };
}

/** @satisfies {esbuild.BuildOptions} */
const BUNDLED = {
  absWorkingDir: ROOT,
  bundle: true,
  minify: true,
  platform: /** @type {const} */ ("node"),
  target: "node20",
  // The SDK's ES modules: in its CommonJS files esbuild cannot see what is unused.
  mainFields: ["module", "main"],
  legalComments: /** @type {const} */ ("none"),
  metafile: /** @type {const} */ (true),
  logLevel: /** @type {const} */ ("silent"),
  write: /** @type {const} */ (false),
};

/**
 * Bundles the handler with the AWS SDK.
 *
 * @param {SdkStep[]} steps
 * @returns {Promise<{ code: Uint8Array, metafile: esbuild.Metafile }>}
 */
export async function bundle(steps) {
  const { outputFiles, metafile } = await esbuild.build({
    ...BUNDLED,
    // Of what the file exports, Lambda needs the two entry points alone.
    stdin: { contents: 'export { handler, letIn } from "./src/handler.ts";', resolveDir: ROOT },
    format: "cjs",
    // esbuild exports getters that can be neither replaced nor redefined, which is what tracing layers do to wrap a handler.
    // A plain copy has ordinary properties.
    footer: { js: "module.exports = { ...module.exports };" },
    plugins: [sdkSteps(steps)],
  });
  return { code: contentOf(outputFiles), metafile };
}

/**
 * Bundles the preview with the handler and the whole AWS SDK: on people's machines, credentials come from anywhere. It loads
 * both late, so esbuild keeps what is unused too.
 *
 * @returns {Promise<Uint8Array>}
 */
async function bundlePreview() {
  const { outputFiles } = await esbuild.build({
    ...BUNDLED,
    entryPoints: [PREVIEW],
    format: "esm",
  });
  return contentOf(outputFiles);
}

/** @param {esbuild.OutputFile[]} files */
function contentOf([output]) {
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
export function zip(name, content) {
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
  // Types are checked elsewhere: here, what the file imports need not be read.
  const options = "--ignoreConfig --noCheck --noResolve --lib es2022 --target es2022 --module nodenext --newLine lf";
  execFileSync(process.execPath, [compiler, ...options.split(" "), "--outDir", folder, HANDLER], { stdio: "inherit" });
  const compiled = join(folder, "handler.js");
  const code = readFileSync(compiled, "utf8");
  rmSync(compiled);
  const header = "// AWS Client VPN session handler, to paste into the Lambda console's editor as index.mjs.\n";
  return header + code.replace(/^(?=\/\*\*)|(?<=^\}\)*;?\n)(?=\w)/gm, "\n");
}

/**
 * Puts the version, the dashboard and the code into their places in the template, as JSON: so they do not depend on
 * indentation, on the length of their lines or on spaces at their ends, as they would in YAML's other texts.
 *
 * @param {string} source of the template
 * @param {{ version: string, dashboard: string, code: string }} parts
 */
export function stackTemplate(source, { version, dashboard, code }) {
  const started = put(source, "Value: THE_VERSION", version);
  const shown = put(started, "DashboardBody: THE_DASHBOARD", dashboardBody(dashboard));
  // The code last: nothing in it is a place.
  const template = put(shown, "ZipFile: THE_CODE", code);
  // A JSON string means the same to every reader of YAML as long as it is ASCII.
  if (/[^\n -~]/.test(template)) throw new Error("the template has a character that is not printable ASCII");
  return template;
}

/**
 * @param {string} template
 * @param {string} place a property and what stands for its value
 * @param {unknown} value
 */
function put(template, place, value) {
  const parts = template.split(place);
  if (parts.length !== 2) throw new Error(`the template has ${parts.length - 1} places, not 1: ${place}`);
  return parts.join(`${place.split(" ")[0]} ${JSON.stringify(value)}`);
}

/**
 * Returns what CloudFormation makes the dashboard's body of. Unlike in that, a long text of src/dashboard.json is a list of
 * lines, and a widget may have a `condition`, one of the template's, and is left out where that is not met.
 *
 * @param {string} dashboard
 */
function dashboardBody(dashboard) {
  /** @type {{ widgets: { condition?: string }[] }} */
  const { widgets, ...others } = JSON.parse(dashboard, (name, value) =>
    name === "markdown" || name === "query" ? [value].flat().join(" ") : value,
  );
  // What CloudFormation puts in as an annotation's value has to be a number.
  const textOf = (/** @type {object} */ part) => JSON.stringify(part).replace(/"value":"(\$\{\w+\})"/g, '"value":$1');
  const always = widgets.filter(({ condition }) => condition === undefined);
  const perhaps = widgets.filter(({ condition }) => condition !== undefined);
  const variables = perhaps.map(({ condition, ...widget }, i) => [
    `Widget${i}`,
    { "Fn::If": [condition, { "Fn::Sub": `,${textOf(widget)}` }, ""] },
  ]);
  const places = variables.map(([name]) => `\${${name}}`).join("");
  const text = textOf({ ...others, widgets: always }).replace(/(?=\]\}$)/, () => places);
  return { "Fn::Sub": [text, Object.fromEntries(variables)] };
}

/**
 * Throws if a file is over its budget, with what is in the bundle.
 *
 * @param {string} name
 * @param {number} bytes
 * @param {number} budget in bytes
 * @param {esbuild.Metafile} metafile
 */
export function checkBudget(name, bytes, budget, metafile) {
  if (bytes <= budget) return;
  const [output] = Object.values(metafile.outputs);
  const inputs = Object.entries(output?.inputs ?? {}).sort(([, a], [, b]) => b.bytesInOutput - a.bytesInOutput);
  const largest = inputs.slice(0, 20).map(([path, { bytesInOutput }]) => `${bytesInOutput} ${path}`);
  throw new Error(
    `${name} has ${bytes} bytes, more than its budget of ${budget}. What is largest in the bundle, in bytes:\n` +
      largest.join("\n"),
  );
}

/**
 * Throws if a file does not load in a fresh process, or lacks an entry point: its hash must not be printed.
 *
 * @param {string} file
 */
function checkLoads(file) {
  const script =
    "try { const file = require(process.argv[1]); for (const name of ['handler', 'letIn']) file[name].call; }" +
    "catch (error) { console.error(String(error)); process.exitCode = 1; }";
  const env = { ...process.env, AWS_REGION: "eu-central-1", AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: "true" };
  const { status, stderr } = spawnSync(process.execPath, ["-e", script, file], { env, encoding: "utf8" });
  if (status !== 0) throw new Error(`${file} does not load: ${stderr}`);
}

/**
 * @param {string} folder
 * @param {(line: string) => void} print
 */
async function main(folder, print) {
  mkdirSync(folder, { recursive: true });
  const { code, metafile } = await bundle(SDK_STEPS);
  const archive = zip("index.cjs", code);
  checkBudget("index.cjs", code.length, BUDGET["index.cjs"], metafile);
  checkBudget("function.zip", archive.length, BUDGET["function.zip"], metafile);
  const { version } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));
  const dashboard = readFileSync(DASHBOARD, "utf8");
  const parts = { version, dashboard, code: Buffer.from(code).toString() };
  const template = stackTemplate(readFileSync(STACK, "utf8"), parts);
  checkBudget("stack.yaml", template.length, BUDGET["stack.yaml"], metafile);
  /** @type {string[]} */
  const sizes = [];
  /** @type {(name: string, content: Uint8Array, use: string) => void} */
  const save = (name, content, use) => {
    writeFileSync(join(folder, name), content);
    sizes.push(`${name.padEnd(12)} ${content.length.toLocaleString("en").padStart(9)} bytes  ${use}`);
  };
  save("index.cjs", code, "the handler with the AWS SDK inside");
  checkLoads(join(folder, "index.cjs"));
  save("function.zip", archive, "index.cjs alone, to upload");
  save("paste.mjs", Buffer.from(stripTypes(folder)), "the handler without the SDK, to read and to paste");
  save("stack.yaml", Buffer.from(template), "a CloudFormation template that sets up everything");
  save("preview.mjs", await bundlePreview(), "a look at an endpoint, before it is set up");
  for (const line of sizes) print(line);
  const sha256 = createHash("sha256").update(archive).digest("base64");
  print(`\nSHA-256 of function.zip in base64, as Lambda shows it (CodeSha256):\n${sha256}`);
}

const USAGE = "usage: npm run build [-- [folder] [--quiet]]; --help says more";
const HELP = `usage: npm run build [-- [folder] [--quiet]]

Builds all that a release has from src/: the handler with the AWS SDK inside (index.cjs, function.zip) and without
(paste.mjs), the CloudFormation template (stack.yaml) and the preview (preview.mjs). The folder is dist/ by default.

  --quiet  print nothing where all is well
  --help   show this, and do nothing`;

function readArguments() {
  const boolean = { type: /** @type {const} */ ("boolean"), default: false };
  const { values, positionals } = parseArgs({ allowPositionals: true, options: { quiet: boolean, help: boolean } });
  const [folder = join(ROOT, "dist"), ...more] = positionals;
  if (more.length > 0 && !values.help) throw new Error(`Unexpected argument '${more[0]}': expected one folder`);
  return { folder, ...values };
}

/** Returns the exit status: 0, 1 where the build fails, 2 for wrong use. */
async function runCommand() {
  let options;
  try {
    options = readArguments();
  } catch (error) {
    console.error(`${wrongArgument(error)}\n${USAGE}`);
    return 2;
  }
  try {
    if (options.help) console.log(HELP);
    else await main(resolve(options.folder), options.quiet ? () => {} : console.log);
    return 0;
  } catch (error) {
    console.error(error instanceof Error ? error.message : String(error));
    return 1;
  }
}

if (process.argv[1] !== undefined && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  endWithOutput();
  process.exitCode = await runCommand();
}
