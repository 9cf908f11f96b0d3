// npm run bench: what a cold start and a connect cost. npm run bench -- storm: what becomes of a storm of logins.

import { parseArgs } from "node:util";
import { benchColdStart } from "./bench-cold-start.ts";
import { benchStorm } from "./bench-storm.ts";
import { numberFrom } from "./report.ts";

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    json: { type: "boolean", default: false },
    scale: { type: "string", default: "0.4" },
    users: { type: "string" },
    seconds: { type: "string", default: "5" },
    older: { type: "string", default: "0" },
  },
});

if (positionals[0] === "storm") {
  const users = values.users === undefined ? undefined : numberFrom(values.users, 1);
  const [seconds, older] = [numberFrom(values.seconds, 0), numberFrom(values.older, 0)];
  await benchStorm({ scale: numberFrom(values.scale, 0.01), users, seconds, older });
} else {
  await benchColdStart(values.json);
}
