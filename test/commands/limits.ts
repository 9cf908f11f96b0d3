import { TokenBucket } from "../ec2/token-bucket.ts";

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

/** Returns what throttles the imitation of EC2 so, with full buckets. */
export function bucketsFor({ describe, terminate }: Limits) {
  return {
    DescribeClientVpnConnections: new TokenBucket(describe.capacity, describe.perSecond),
    TerminateClientVpnConnections: new TokenBucket(terminate.capacity, terminate.perSecond),
  };
}

export function limitText({ capacity, perSecond }: Limit): string {
  return `${capacity} + ${perSecond}/s`;
}
