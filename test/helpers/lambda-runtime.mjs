// Lambda's Node.js runtime in miniature, as a process of its own: it loads a file, calls its handler for each message,
// and collects what that writes to the console, as the real one does. Like that, it imports an .mjs file, and
// requires any other. With a number as second argument, it loads the file as often, and once more for a message with settings,
// so that each of that many has its own state, as if in a process of its own.

import { AsyncLocalStorage } from "node:async_hooks";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import process from "node:process";
import { pathToFileURL } from "node:url";

const logOfInvocation = new AsyncLocalStorage();

for (const level of /** @type {const} */ (["info", "warn", "error", "log"])) {
  const write = console[level];
  console[level] = (...message) => {
    const log = logOfInvocation.getStore();
    if (log) log.push({ level, message });
    else write(...message);
  };
}

const [file = "", instances = "1"] = process.argv.slice(2);
/** @type {Record<string, (event: unknown, context: unknown) => Promise<unknown>>[]} */
const modules = [];
const require = createRequire(file);
async function load() {
  if (file.endsWith(".mjs")) modules.push(await import(`${pathToFileURL(file)}?instance=${modules.length}`));
  else modules.push(modules.length === 0 ? require(file) : requireAgain());
}

/** @type {Function | undefined} */
let compiled;
// As `require` would, but compiled once for all: that is most of what loading costs.
function requireAgain() {
  compiled ??= new Function("module", "exports", "require", readFileSync(file, "utf8"));
  const module = { exports: {} };
  compiled(module, module.exports, require);
  return module.exports;
}

for (let i = 0; i < Number(instances); i++) await load();

// Not more often: tests wait for minutes in all, and each tick costs the machine something.
const TICK_MS = 20;
const LATE_MS = 10;
let lastTickAt = 0;
let lateMs = 0;
let underWay = 0;
/** @type {NodeJS.Timeout} */
let ticks;

// What a busy machine takes from whoever waits: the sum of the ticks that came far too late.
function tick() {
  const now = performance.now();
  const late = now - lastTickAt - TICK_MS;
  if (late > LATE_MS) lateMs += late;
  lastTickAt = now;
}

process.on("message", async ({ id, settings, event, remaining, instance = 0, entryPoint = "handler" }) => {
  if (settings !== undefined) {
    // The handler reads its settings when it is loaded, and never again.
    Object.assign(process.env, settings);
    await load();
    for (const name of Object.keys(settings)) delete process.env[name];
    process.send?.({ id, response: modules.length - 1 });
    return;
  }
  const startedAt = performance.now();
  const getRemainingTimeInMillis = () => remaining - (performance.now() - startedAt);
  /** @type {unknown[]} */
  const log = [];
  if (underWay++ === 0) {
    lastTickAt = startedAt;
    ticks = setInterval(tick, TICK_MS);
  }
  const lateMsBefore = lateMs;
  const reply = () => {
    const durationMs = performance.now() - startedAt;
    tick();
    return { id, log, durationMs, lateMs: lateMs - lateMsBefore };
  };
  try {
    const response = await logOfInvocation.run(log, () =>
      modules[instance]?.[entryPoint]?.(event, remaining === undefined ? undefined : { getRemainingTimeInMillis }),
    );
    process.send?.({ ...reply(), response });
  } catch (error) {
    process.send?.({ ...reply(), thrown: String(error) });
  } finally {
    if (--underWay === 0) clearInterval(ticks);
  }
});

process.send?.({ ready: true });
