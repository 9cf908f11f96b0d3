// npm run bench: what a cold start and a connect cost. npm run bench -- storm: what becomes of a storm of logins.

import { parseArgs } from "node:util";
import { benchColdStart } from "./bench-cold-start.ts";
import { benchStorm } from "./bench-storm.ts";

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
  const users = values.users === undefined ? undefined : Number(values.users);
  await benchStorm({
    scale: Number(values.scale),
    users,
    seconds: Number(values.seconds),
    older: Number(values.older),
  });
} else {
  await benchColdStart(values.json);
}
