import { DescribeClientVpnConnectionsCommand } from "@aws-sdk/client-ec2";
import { expect, test, vi } from "vitest";
import { handler } from "../../src/handler.ts";
import { ENDPOINT_ID } from "../ec2/server.ts";
import { ALLOWED } from "../helpers/answers.ts";
import { contextOf, never, useClock } from "../helpers/clock.ts";
import { connectEvent } from "../helpers/events.ts";
import { throttled, useMocks } from "../helpers/mocked.ts";

vi.mock("node:timers/promises", () => import("../helpers/clock.ts"));
// Before the handler is loaded, which reads its settings once.
vi.hoisted(() => vi.stubEnv("DRY_RUN", "true"));

const { ec2, error } = useMocks();
const timed = useClock();

test.each([
  [undefined, 5_000],
  [900_000, 5_000],
  [30_000, 5_000],
  [6_000, 5_000],
  [3_000, 2_000],
])(
  "a login of %s ms is checked for %d ms at most, let in, and its log entry has the denial",
  async (remaining, most) => {
    ec2.on(DescribeClientVpnConnectionsCommand).callsFake(never);
    const { settled, ms } = await timed(() => handler(connectEvent(), contextOf(remaining)));
    expect(settled).toMatchObject({ value: ALLOWED });
    expect(ms).toBeGreaterThan(most - 100);
    expect(ms).toBeLessThanOrEqual(most);
    expect(error.mock.calls).toHaveLength(1);
    expect(JSON.parse(String(error.mock.calls[0]?.[0]))).toMatchObject({
      decision: "allow",
      errors: [{ code: "TimeoutError", message: "no answer from EC2 in time" }],
      dryRun: { decision: "deny" },
    });
  },
);

test("a sweep has as much time as ever", async () => {
  ec2.on(DescribeClientVpnConnectionsCommand).callsFake(throttled);
  const { settled, ms } = await timed(() => handler({ sweep: ENDPOINT_ID }, contextOf(30_000)));
  expect(settled).toMatchObject({ status: "rejected", reason: { name: "IncompleteSweep" } });
  expect(ms).toBeGreaterThan(28_900);
});
