/**
 * Looks at a Client VPN endpoint before the handler is set up: who is connected more than once, what would be ended, what
 * stands in the way, and which parameters the stack needs. It calls two actions that read, and changes nothing.
 *
 * Who is over the limit and who would go is the handler's decision: the options become its settings, and then it is loaded.
 */

import { realpathSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs, stripVTControlCharacters } from "node:util";
import { endWithOutput, wrongArgument } from "../commands.mjs";
import { Fault } from "./faults.ts";
import { judge } from "./judge.ts";
import { look } from "./look.ts";
import { asJson, asText, redacted, visible } from "./show.ts";

/** What the arguments say. */
export interface Options {
  endpointId: string;
  region: string | undefined;
  max: string;
  /** Undefined: what the endpoint suggests. */
  identity: string | undefined;
  ignoreCase: boolean;
  /** Names between commas. */
  exempt: string;
  json: boolean;
  redact: boolean;
}

/** Where the command writes: a stream of Node's, or what stands for one. */
export interface Output {
  write(text: string): unknown;
  /** Whether it is a terminal. */
  isTTY?: boolean;
}

// From source, npm runs it; the built file runs by itself.
const COMMAND = process.argv[1]?.endsWith(".ts") ? "npm run preview --" : "node preview.mjs";
const USAGE = `usage: ${COMMAND} ENDPOINT_ID [options]; --help lists them`;
const HELP = `usage: ${COMMAND} ENDPOINT_ID [options]

Shows on your own Client VPN endpoint who is connected more than once, what the handler would end, what stands in the
way, and which parameters the stack needs. It reads with your AWS credentials, and changes nothing. It needs the rights
ec2:DescribeClientVpnEndpoints and ec2:DescribeClientVpnConnections.

  --region R             the Region; by default, as every AWS tool finds it
  --max N                connections for each user; 1 by default
  --identity I           whose a connection is, by username or common-name; by default, what the endpoint suggests
  --ignore-case          letter case does not count; by default it does
  --exempt A,B           users who may hold as many connections as they like; none by default
  --json                 one JSON document instead of a text
  --redact               no name, id, ARN or account: user 1, connection 1 and so on, to show it to others
  --help                 this text

examples:
  ${COMMAND} cvpn-endpoint-0123456789abcdef0
  ${COMMAND} cvpn-endpoint-0123456789abcdef0 --region eu-central-1 --max 2 --exempt kiosk,backup
  AWS_PROFILE=network ${COMMAND} cvpn-endpoint-0123456789abcdef0 --json --redact
`;

/**
 * Runs the command once. The environment is the process's: the SDK and the handler read it there, and the handler's settings
 * are written into it. The handler reads them when it is loaded, so a second run needs it anew.
 *
 * @param args what follows the command's name
 * @returns the exit status: 0, 1 for a fault, 2 for wrong use
 */
export async function run(args: string[], stdout: Output, stderr: Output): Promise<number> {
  try {
    const options = readOptions(args);
    if (options === undefined) {
      stdout.write(HELP);
      return 0;
    }
    const seen = await look(options, stderr);
    const found = judge(seen);
    const report = options.redact ? redacted(found, seen.handler.comparable) : found;
    const text = options.json ? asJson(report) : asText(report, seen.region);
    stdout.write(stdout.isTTY && !process.env.NO_COLOR ? text : stripVTControlCharacters(text));
    return 0;
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    stderr.write(`${error.message}\n`);
    return error.status;
  }
}

/** Returns undefined where help is asked for. */
function readOptions(args: string[]): Options | undefined {
  const { values, positionals } = parsed(args);
  if (values.help) return undefined;
  const { region, max, identity, exempt, redact } = values;
  const [endpointId = "", ...more] = positionals;
  const wrong = (what: string, expected: string, got: string) =>
    wrongUse(`${what}: expected ${expected}${redact ? "" : `, got "${visible(got)}"`}`);
  if (positionals.length === 0) throw wrongUse("ENDPOINT_ID is missing");
  if (more.length > 0) throw wrongUse(`expected one ENDPOINT_ID, got ${positionals.length}`);
  if (!/^cvpn-endpoint-[0-9a-f]{17}$/.test(endpointId)) {
    throw wrong("ENDPOINT_ID", "an id such as cvpn-endpoint-0123456789abcdef0", endpointId);
  }
  if (region !== undefined && !/^[a-z]+(-[a-z]+)+-\d+$/.test(region)) {
    throw wrong("--region", "a Region such as eu-central-1", region);
  }
  if (!/^[1-9]\d*$/.test(max)) throw wrong("--max", "an integer from 1", max);
  if (identity !== undefined && identity !== "username" && identity !== "common-name") {
    throw wrong("--identity", "username or common-name", identity);
  }
  if (exempt.trim() !== "" && exempt.split(",").some((name) => name.trim() === "")) {
    throw wrong("--exempt", "names between commas", exempt);
  }
  const ignoreCase = values["ignore-case"];
  return { endpointId, region, max, identity, ignoreCase, exempt: exempt.trim(), json: values.json, redact };
}

function parsed(args: string[]) {
  try {
    return parseArgs({
      args,
      allowPositionals: true,
      options: {
        region: { type: "string" },
        max: { type: "string", default: "1" },
        identity: { type: "string" },
        "ignore-case": { type: "boolean", default: false },
        exempt: { type: "string", default: "" },
        json: { type: "boolean", default: false },
        redact: { type: "boolean", default: false },
        help: { type: "boolean", short: "h", default: false },
      },
    });
  } catch (error) {
    const isUnknown = Object(error).code === "ERR_PARSE_ARGS_UNKNOWN_OPTION";
    if (isUnknown && args.includes("--redact")) throw wrongUse("Unknown option");
    throw wrongUse(visible(wrongArgument(error)));
  }
}

const wrongUse = (line: string) => new Fault(`${line}\n${USAGE}`, 2);

// The tests import it instead.
if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  endWithOutput();
  process.exitCode = await run(process.argv.slice(2), process.stdout, process.stderr);
}
