// Loads one module in a fresh process, and prints how long that took (ms) and the process's peak memory (bytes).
// It imports nothing itself: what an import costs has to be inside the measured time.

const startedAt = performance.now();
await import(process.argv[2] ?? "");
const ms = performance.now() - startedAt;
console.log(JSON.stringify({ ms, bytes: process.resourceUsage().maxRSS * 1024 }));
