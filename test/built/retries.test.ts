import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { type Fault, THROTTLED } from "../ec2/faults.ts";
import { LoopbackEc2 } from "../ec2/server.ts";
import { ALLOWED } from "../helpers/answers.ts";
import { connectEvent } from "../helpers/events.ts";
import { DIST, Lambda } from "../helpers/lambda.ts";

const USERS = 40;
/** The longest that each wait may be, in ms; the shortest is half of it. */
const LONGEST = [250, 500, 1_000, 2_000, 4_000, 4_000];

test.concurrent.each(["index.cjs", "paste.mjs"])(
  "dist/%s waits by chance between half and all of 250 ms, then twice as long each time, and 4 s at the most",
  // Gaps that were measured while the machine was too busy with other tests are measured again.
  { timeout: 60_000, retry: 2 },
  async (file) => {
    const ec2 = await new LoopbackEc2().start();
    const lambda = await Lambda.start(`${DIST}${file}`, ec2.env);
    try {
      const callsOf = new Map<string, number[]>();
      const untilLast = (params: URLSearchParams): Fault | undefined => {
        const username = String(params.get("Filter.1.Value.1"));
        const calls = [...(callsOf.get(username) ?? []), performance.now()];
        callsOf.set(username, calls);
        return calls.length <= LONGEST.length ? THROTTLED : undefined;
      };
      ec2.fail("DescribeClientVpnConnections", untilLast, Number.POSITIVE_INFINITY);
      const login = async (username: string) => {
        expect((await lambda.invoke(connectEvent({ username }))).response).toStrictEqual(ALLOWED);
      };
      // The first login compiles what the others run. By its end, the other tests have loaded their files too.
      await login("the first");
      callsOf.clear();
      // One after the other, so that what is measured is their waiting, not this machine's.
      await Promise.all(
        Array.from({ length: USERS }, async (_, user) => {
          await sleep(user * 100);
          await login(`user ${user}`);
        }),
      );

      for (const [retry, longest] of LONGEST.entries()) {
        const gaps = [...callsOf.values()].map((calls) => (calls[retry + 1] ?? 0) - (calls[retry] ?? 0));
        expect(gaps).toHaveLength(USERS);
        // A busy machine makes gaps longer, never shorter. So none is held to be short but the shortest: of forty users,
        // chance and the machine are kind to one.
        expect(Math.min(...gaps)).toBeGreaterThan(longest * 0.5 - 10);
        expect(Math.min(...gaps)).toBeLessThan(longest * 0.65 + 80);
        expect(Math.max(...gaps)).toBeGreaterThan(longest * 0.85);
      }
    } finally {
      await lambda.stop();
      await ec2.close();
    }
  },
);
