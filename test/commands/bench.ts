// npm run bench: what a cold login and a warm one cost. npm run bench -- storm: what becomes of a storm of logins.

import { endWithFault, endWrongUse, integerFrom, numberFrom, readArguments } from "./arguments.ts";
import { benchColdLogin } from "./bench-cold-login.ts";
import { benchOneUser } from "./bench-one-user.ts";
import { benchStorm } from "./bench-storm.ts";
import { buildDist } from "./build.ts";
import { progress } from "./report.ts";

const { positionals, values, tokens } = readArguments({
  usage:
    "npm run bench -- [--json] | npm run bench -- storm [--users N] [--seconds S] [--older N] [--scale F] [--attempts N] [--devices N] | [--help]",
  does: `Measures what a cold login and a warm one cost, in the built function against an imitation of EC2.
With storm: what becomes of many logins within seconds, before EC2's documented limits.`,
  allowPositionals: true,
  tokens: true,
  options: {
    json: { type: "boolean", meaning: "print the figures alone, as JSON; not for storm (default: as tables)" },
    users: {
      type: "string",
      value: "N",
      meaning: "storm: how many users connect (default: three storms, of 200 and 400)",
    },
    seconds: { type: "string", value: "S", meaning: "storm: within how many seconds they do", default: "5" },
    older: { type: "string", value: "N", meaning: "storm: how many older sessions each has", default: "0" },
    scale: {
      type: "string",
      value: "F",
      meaning: "storm: what users and EC2's limits are multiplied by",
      default: "0.4",
    },
    attempts: {
      type: "string",
      value: "N",
      meaning: "storm: alone, how often a second one user tries to connect (default: 30 and 60, at the end)",
    },
    devices: {
      type: "string",
      value: "N",
      meaning:
        "storm: alone, how many devices of one user push each other out, in three shapes (default: 50, at the end)",
    },
  },
});
const [kind, ...more] = positionals;
const isStorm = kind === "storm";
if (kind !== undefined && !isStorm) endWrongUse(`Unknown argument '${kind}': expected storm, or none`);
if (more.length > 0) endWrongUse(`Unexpected argument '${more[0]}'`);
for (const token of tokens) {
  if (token.kind !== "option" || (token.name === "json") !== isStorm) continue;
  endWrongUse(`Option '--${token.name}' is ${isStorm ? "not for storm" : "for storm only"}`);
}

const attempts = values.attempts === undefined ? undefined : integerFrom("--attempts", values.attempts, 1);
const devices = values.devices === undefined ? undefined : integerFrom("--devices", values.devices, 1);
const storm = {
  scale: numberFrom("--scale", values.scale, 0.01),
  users: values.users === undefined ? undefined : integerFrom("--users", values.users, 1),
  seconds: numberFrom("--seconds", values.seconds, 0),
  older: integerFrom("--older", values.older, 0),
};
buildDist();
try {
  if (!isStorm) await benchColdLogin(values.json ?? false);
  else if (attempts !== undefined || devices !== undefined) await benchOneUser(attempts ? [attempts] : [], devices);
  else {
    await benchStorm(storm);
    // Not after one of the caller's own.
    if (storm.users === undefined) await benchOneUser([30, 60], 50);
  }
} catch (error) {
  progress("");
  endWithFault(error);
}
