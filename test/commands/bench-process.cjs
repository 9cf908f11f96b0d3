// Loads one file as Lambda does in a fresh process, asks its handler twice, and prints what that took (ms, bytes). With
// "after a sweep" before the event, the process has loaded and swept before anybody waits.
// It loads nothing that Node itself has not loaded, and takes its clock from `process`: what a file needs has to be inside
// the measured time.

const { writeSync } = require("node:fs");

// Before it loads a file, Lambda's runtime puts a console of its own in place, which writes to a file descriptor.
/** @param {unknown} entry */
console.info = (entry) => void writeSync(2, `${entry}\n`);
const now = () => Number(process.hrtime.bigint()) / 1e6;
const [file = "", ...args] = process.argv.slice(2);
const isAfterSweep = args[0] === "after a sweep";
const event = args.at(-1) ?? "";

async function main() {
  let startedAt = now();
  const { handler } = file.endsWith(".mjs") ? await import(`file://${file}`) : require(file);
  if (isAfterSweep) {
    await handler({ sweep: JSON.parse(event)["endpoint-id"] });
    startedAt = now();
  }
  const loadedAt = now();
  const first = await handler(JSON.parse(event));
  const firstAt = now();
  const second = await handler(JSON.parse(event));
  const secondAt = now();
  if (!first.allow || !second.allow) throw new Error("the handler denied");
  const { user, system } = process.cpuUsage();
  const figures = {
    load: loadedAt - startedAt,
    first: firstAt - loadedAt,
    both: firstAt - startedAt,
    second: secondAt - firstAt,
    cpu: (user + system) / 1_000,
    memory: process.resourceUsage().maxRSS * 1024,
  };
  process.stdout.write(`\n${JSON.stringify(figures)}\n`);
}

main();
