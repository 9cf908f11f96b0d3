import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

export default defineConfig({
  // By default, it would be in a node_modules of the tests' own.
  cacheDir: "../node_modules/.vite",
  resolve: { alias: { "@aws-sdk/client-ec2": fileURLToPath(new URL("helpers/client-ec2.cjs", import.meta.url)) } },
  test: {
    globalSetup: "global-setup.ts",
    // The handler is quiet about it where it runs: Lambda's runtimes are newer than Node 20.
    env: { AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: "true" },
    // Threads start sooner than processes, and cost less.
    pool: "threads",
    // Most of the time the tests wait for a deadline, and they can do so together.
    maxWorkers: 8,
    maxConcurrency: 50,
    // What hangs ends here. No test is to come near it, also where the machine has four times as much to do as it has cores.
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
});
