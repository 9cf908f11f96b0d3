import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import type { ClientConnectResponse, SweepResult } from "../../src/handler.ts";

export const DIST = fileURLToPath(new URL("../../dist/", import.meta.url));

/** What the build puts there. */
export const DIST_FILES = ["index.cjs", "function.zip", "paste.mjs", "stack.yaml", "preview.mjs"];

interface Measured {
  durationMs: number;
  /** How late timers fired meanwhile, in ms and in all: what a busy machine adds to any deadline. */
  lateMs: number;
  /** What was written to the console. */
  log: { level: string; message: unknown[] }[];
}

export interface Invocation<T = ClientConnectResponse> extends Measured {
  response: T;
}

export interface InvokeOptions {
  /** What `context.getRemainingTimeInMillis()` counts down from, in ms; without it, there is no context. */
  remaining?: number;
  /** Which of the instances, from 0. */
  instance?: number;
  /** Which export is called; by default, `handler`. */
  entryPoint?: string;
}

/** What was thrown, and what was measured until then. */
export class InvocationError extends Error {
  constructor(
    message: string,
    readonly invocation: Measured,
  ) {
    super(message);
  }
}

/** Returns what was measured until the handler threw this. */
export function measuredUntil(error: unknown): Measured {
  if (error instanceof InvocationError) return error.invocation;
  throw error;
}

/** What can be asked for a login and for a sweep. */
export type Invocable = Pick<Lambda, "invoke" | "sweep">;

/** A file with the exported handler, loaded in a process of its own: a Lambda execution environment, or several. */
export class Lambda {
  #waiting = new Map<number, { resolve: (invocation: Invocation<never>) => void; reject: (error: Error) => void }>();
  #underWay = new Set<Promise<unknown>>();
  #nextId = 0;
  /** What the process wrote outside of invocations, which is nothing if all is well. */
  output = "";

  private constructor(readonly process: ChildProcess) {
    process.stdout?.on("data", (data) => (this.output += data));
    process.stderr?.on("data", (data) => (this.output += data));
    process.on("message", ({ id, thrown, ...invocation }: Invocation<never> & { id: number; thrown?: string }) => {
      const waiting = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (thrown === undefined) waiting?.resolve(invocation);
      else waiting?.reject(new InvocationError(thrown, invocation));
    });
    process.on("exit", () => {
      for (const { reject } of this.#waiting.values()) reject(new Error(`the process ended: ${this.output}`));
    });
  }

  static async start(file: string, env: Record<string, string>, instances = 1): Promise<Lambda> {
    const runtime = fileURLToPath(new URL("lambda-runtime.mjs", import.meta.url));
    const { PATH = "" } = process.env;
    const child = fork(runtime, [file, String(instances)], {
      // EC2's times are in UTC, wherever the process is.
      env: { PATH, TZ: "Pacific/Midway", AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: "true", ...env },
      execArgv: [],
      serialization: "advanced",
      silent: true,
    });
    const lambda = new Lambda(child);
    const [first] = await Promise.race([once(child, "message"), once(child, "exit")]);
    if (first?.ready !== true) throw new Error(`${file} did not load: ${lambda.output}`);
    return lambda;
  }

  /** Calls the handler for a login; rejects if it throws, which it must not. */
  invoke(event: unknown, options: InvokeOptions = { remaining: 30_000 }): Promise<Invocation> {
    return this.#call(event, options);
  }

  /** Calls the handler for a sweep; rejects with an {@link InvocationError} if it throws. */
  sweep(event: unknown, options: InvokeOptions = { remaining: 30_000 }): Promise<Invocation<SweepResult>> {
    return this.#call(event, options);
  }

  /** Loads the file once more, with these environment variables besides. They must be such as it reads while it loads. */
  async loadWith(settings: Record<string, string>): Promise<Invocable> {
    const { response: instance } = await this.#send<number>({ settings });
    return {
      invoke: (event, options = { remaining: 30_000 }) => this.invoke(event, { ...options, instance }),
      sweep: (event, options = { remaining: 30_000 }) => this.sweep(event, { ...options, instance }),
    };
  }

  #call<T>(event: unknown, options: InvokeOptions): Promise<Invocation<T>> {
    return this.#send({ event, ...options });
  }

  #send<T>(message: object): Promise<Invocation<T>> {
    const id = this.#nextId++;
    const answer = new Promise<Invocation<T>>((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.process.send({ id, ...message });
    });
    this.#underWay.add(answer);
    const forget = () => this.#underWay.delete(answer);
    answer.then(forget, forget);
    return answer;
  }

  /** Waits for the end of all that is under way, however it ends. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#underWay);
  }

  async stop(): Promise<void> {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return;
    this.process.kill();
    await once(this.process, "exit");
  }
}
