/** A function's execution environments as Lambda hands them out, by their numbers: each serves one invocation at a time. */
export class Pool {
  /** The most recently used last. */
  #idle: number[] = [];
  /** How many have been started. */
  started = 0;

  /** Calls with the most recently used environment of those that are idle, or where none is, with a new one. */
  async use<T>(call: (environment: number) => Promise<T>): Promise<T> {
    const environment = this.#idle.pop() ?? this.started++;
    try {
      return await call(environment);
    } finally {
      this.#idle.push(environment);
    }
  }
}
