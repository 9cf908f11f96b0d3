// npm run bench: what a cold login and a warm one cost. npm run bench -- storm: what becomes of a storm of logins.

import { endWith, integerFrom, numberFrom, readArguments } from "./arguments.ts";
import { benchColdLogin } from "./bench-cold-login.ts";
import { benchStorm } from "./bench-storm.ts";

const USAGE = "npm run bench -- [--json] | npm run bench -- storm [--users N] [--seconds S] [--older N] [--scale F]";
const { positionals, values } = readArguments(USAGE, {
  allowPositionals: true,
  options: {
    json: { type: "boolean" },
    scale: { type: "string" },
    users: { type: "string" },
    seconds: { type: "string" },
    older: { type: "string" },
  },
});
const { json = false, ...storm } = values;
const isStorm = positionals[0] === "storm";
const isForTheOther = isStorm ? json : Object.keys(storm).length > 0;
if (positionals.length > (isStorm ? 1 : 0) || isForTheOther) endWith(`usage: ${USAGE}`);

if (isStorm) {
  const { scale = "0.4", users, seconds = "5", older = "0" } = storm;
  await benchStorm({
    scale: numberFrom("--scale", scale, 0.01),
    users: users === undefined ? undefined : integerFrom("--users", users, 1),
    seconds: numberFrom("--seconds", seconds, 0),
    older: integerFrom("--older", older, 0),
  });
} else {
  await benchColdLogin(json);
}
