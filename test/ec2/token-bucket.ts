/** EC2's throttling: `capacity` requests at once and `perSecond` more each second; those beyond are refused. */
export class TokenBucket {
  /** How many were. */
  refused = 0;
  #tokens: number;
  #filledAt = performance.now();

  constructor(
    readonly capacity: number,
    readonly perSecond: number,
  ) {
    this.#tokens = capacity;
  }

  take(): boolean {
    const now = performance.now();
    this.#tokens = Math.min(this.capacity, this.#tokens + ((now - this.#filledAt) / 1_000) * this.perSecond);
    this.#filledAt = now;
    if (this.#tokens < 1) {
      this.refused++;
      return false;
    }
    this.#tokens -= 1;
    return true;
  }
}
