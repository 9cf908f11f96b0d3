// Time that passes as fast as the code allows: what is exact to the millisecond, whatever the machine has to do. A test file
// says vi.mock("node:timers/promises", () => import("../helpers/clock.ts")), as Vitest fakes the global timers alone.

import { afterEach, beforeEach, vi } from "vitest";

/** Waits as node:timers/promises does, on the global timers. */
export function setTimeout(ms: number, value?: unknown, { signal }: { signal?: AbortSignal } = {}): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const timer = globalThis.setTimeout(resolve, Math.max(1, ms), value);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}

/** Stops the clock for the tests of a file, and gives them what lets it run. */
export function useClock() {
  beforeEach(() => {
    vi.useFakeTimers();
    // Lambda's processes live on: no time is to be right only because the clock began with it.
    vi.advanceTimersByTime(12_345);
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  /** Lets the time pass until the work is done; returns how it ended, and how many ms it took. */
  return async function timed<T>(work: () => Promise<T>): Promise<{ settled: PromiseSettledResult<T>; ms: number }> {
    const startedAt = performance.now();
    let done: { settled: PromiseSettledResult<T>; ms: number } | undefined;
    Promise.allSettled([work()]).then(([settled]) => {
      done = { settled, ms: performance.now() - startedAt };
    });
    while (done === undefined) await vi.advanceTimersToNextTimerAsync();
    return done;
  };
}

/** An SDK that hears no signal and never settles: nothing but the handler itself can be on time then. */
export const never = () => new Promise<never>(() => {});

/** A context whose time goes by; without a number of ms, none. */
export function contextOf(remaining: number | undefined) {
  const startedAt = performance.now();
  return remaining === undefined
    ? undefined
    : { getRemainingTimeInMillis: () => remaining - (performance.now() - startedAt) };
}
