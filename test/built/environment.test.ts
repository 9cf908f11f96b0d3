import { spawn } from "node:child_process";
import { once } from "node:events";
import { describe, expect, test } from "vitest";
import { THROTTLED } from "../ec2/faults.ts";
import { ALLOWED, expectValidAnswer } from "../helpers/answers.ts";
import { builtForTest, statuses, useEc2 } from "../helpers/built.ts";
import { connectEvent } from "../helpers/events.ts";
import { DIST } from "../helpers/lambda.ts";

const ec2 = useEc2();

describe("the environment", () => {
  async function askHandlerWith(env: Record<string, string>, remaining = 30_000) {
    const other = await builtForTest(env);
    const invocation = await other.invoke(connectEvent(), { remaining });
    expectValidAnswer(invocation.response);
    return invocation;
  }

  test("with wrong credentials is a denial at once, after one call", async () => {
    const { response, log } = await askHandlerWith({ ...ec2.env, AWS_SECRET_ACCESS_KEY: "wrong" });
    expect(response.allow).toBe(false);
    expect(String(log[0]?.message[0])).toContain('"code":"AuthFailure"');
    expect(ec2.refused).toBe(1);
  });

  test("without a Region is a denial", async () => {
    const { AWS_REGION: _, ...env } = ec2.env;
    const { response, log } = await askHandlerWith(env);
    expect(response.allow).toBe(false);
    expect(String(log[0]?.message[0])).toContain("Region is missing");
  });

  test.each([
    ["nobody listening", "http://127.0.0.1:1", /"code":"ECONNREFUSED"/],
    ["a name that does not exist", "http://ec2.invalid", /"code":"(ENOTFOUND|EAI_AGAIN)"/],
  ])("with %s is a denial after all the time for trying, and says so", async (_, url, code) => {
    const { response, log, durationMs, lateMs } = await askHandlerWith(
      { ...ec2.env, AWS_ENDPOINT_URL_EC2: url },
      4_000,
    );
    expect(response.allow).toBe(false);
    expect(String(log[0]?.message[0])).toMatch(code);
    expect(durationMs).toBeGreaterThan(2_500);
    expect(durationMs - lateMs).toBeLessThan(3_500);
  });

  test("with the SDK's adaptive retries changes nothing: throttling does not cost the next login", async () => {
    const env = { ...ec2.env, AWS_RETRY_MODE: "adaptive", AWS_MAX_ATTEMPTS: "7" };
    const other = await builtForTest(env);
    ec2.fail("DescribeClientVpnConnections", THROTTLED, Number.POSITIVE_INFINITY);
    const throttled = await other.invoke(connectEvent(), { remaining: 4_000 });
    expect(throttled.response.allow).toBe(false);
    ec2.reset();
    // With the SDK's own waits, it waits for some seconds before it calls.
    const { response, log, durationMs, lateMs } = await other.invoke(connectEvent());
    expect(response).toStrictEqual(ALLOWED);
    expect(durationMs - lateMs).toBeLessThan(2_000);
    expect(log).toHaveLength(1);
    expect(ec2.requests).toHaveLength(1);
  });

  test("is left alone: no timer of a login keeps the process alive", async () => {
    ec2.addConnection();
    const script = `
      require(${JSON.stringify(`${DIST}index.cjs`)}).handler(${JSON.stringify(connectEvent())}).then(() => {
        process.exitCode = process.getActiveResourcesInfo().includes("Timeout") ? 1 : 0;
      });`;
    const child = spawn(process.execPath, ["-e", script], { env: { ...process.env, ...ec2.env }, stdio: "ignore" });
    expect(await once(child, "exit")).toStrictEqual([0, null]);
    expect(statuses(ec2.connections)).toStrictEqual(["terminated"]);
  });
});
