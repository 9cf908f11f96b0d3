// Lambda's Node.js runtime in miniature, as a process of its own: it loads a file, calls its `handler` for each message,
// and collects what the handler writes to the console, as the real one does.

import { AsyncLocalStorage } from "node:async_hooks";
import process from "node:process";

const logOfInvocation = new AsyncLocalStorage();

for (const level of /** @type {const} */ (["info", "warn", "error", "log"])) {
  const write = console[level];
  console[level] = (...message) => {
    const log = logOfInvocation.getStore();
    if (log) log.push({ level, message });
    else write(...message);
  };
}

const { handler } = await import(process.argv[2] ?? "");

process.on("message", async ({ id, event, remaining }) => {
  const startedAt = performance.now();
  const getRemainingTimeInMillis = () => remaining - (performance.now() - startedAt);
  /** @type {unknown[]} */
  const log = [];
  const reply = { id, log };
  try {
    const response = await logOfInvocation.run(log, () =>
      handler(event, remaining === undefined ? undefined : { getRemainingTimeInMillis }),
    );
    process.send?.({ ...reply, response, durationMs: performance.now() - startedAt });
  } catch (error) {
    process.send?.({ ...reply, thrown: String(error), durationMs: performance.now() - startedAt });
  }
});

process.send?.({ ready: true });
