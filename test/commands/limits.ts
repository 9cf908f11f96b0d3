/** EC2's limits for an account in a Region (EC2 API throttling): requests at once, and further ones each second. */
export interface Limit {
  capacity: number;
  perSecond: number;
}

/** What a login meets. */
export interface Limits {
  describe: Limit;
  terminate: Limit;
}

export const LIMITS: Limits = {
  describe: { capacity: 100, perSecond: 20 },
  terminate: { capacity: 50, perSecond: 5 },
};

export function scaled({ describe, terminate }: Limits, scale: number): Limits {
  const by = ({ capacity, perSecond }: Limit) => ({ capacity: capacity * scale, perSecond: perSecond * scale });
  return { describe: by(describe), terminate: by(terminate) };
}

export function limitText({ capacity, perSecond }: Limit): string {
  return `${capacity} + ${perSecond}/s`;
}
