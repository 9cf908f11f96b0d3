import { TerminateClientVpnConnectionsCommand } from "@aws-sdk/client-ec2";
import { describe, expect, test } from "vitest";
import { ALLOWED } from "../helpers/answers.ts";
import { ENDED, row, useMocks } from "../helpers/mocked.ts";

const { ec2, listed, askHandler } = useMocks();

describe("the termination", () => {
  test.each([
    ["an empty list of statuses", { ConnectionStatuses: [] }],
    ["a status without codes", { ConnectionStatuses: [{}] }],
    ["terminating", { ConnectionStatuses: [{ CurrentStatus: { Code: "terminating" as const } }] }],
  ])("takes %s for a success", async (_, output) => {
    listed(row("older"));
    ec2.on(TerminateClientVpnConnectionsCommand).resolves(output);
    expect((await askHandler()).response).toStrictEqual(ALLOWED);
  });

  test("denies when EC2 says failed-to-terminate in an answer without error", async () => {
    listed(row("older"));
    ec2.on(TerminateClientVpnConnectionsCommand).resolves({
      ConnectionStatuses: [{ CurrentStatus: { Code: "failed-to-terminate", Message: "still there" } }],
    });
    const { response, entry, message } = await askHandler();
    expect(response.allow).toBe(false);
    expect(message).toMatch(/could not be ended. Disconnect your other devices/);
    expect(entry).toMatchObject({
      reason: "older connections could not be terminated",
      terminated: [],
      notTerminated: ["older"],
      errors: [{ connectionId: "older", code: "failed-to-terminate", message: "still there" }],
    });
  });

  test("has ten requests at once under way, and not more", async () => {
    listed(...Array.from({ length: 40 }, (_, i) => row(`older-${i}`)));
    let underWay = 0;
    let most = 0;
    ec2.on(TerminateClientVpnConnectionsCommand).callsFake(async () => {
      most = Math.max(most, ++underWay);
      await new Promise((resolve) => setTimeout(resolve, 5));
      underWay--;
      return ENDED;
    });
    expect((await askHandler()).response).toStrictEqual(ALLOWED);
    expect(most).toBe(10);
  });
});
