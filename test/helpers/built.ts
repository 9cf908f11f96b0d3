import { afterAll, beforeAll, beforeEach, expect, onTestFinished } from "vitest";
import type { Connection } from "../ec2/connection.ts";
import { LoopbackEc2 } from "../ec2/server.ts";
import { checkAnswer } from "./answers.ts";
import { DIST, Lambda } from "./lambda.ts";

/** Gives the tests of a file an EC2, which begins anew with each of them. */
export function useEc2(): LoopbackEc2 {
  const ec2 = new LoopbackEc2();
  beforeAll(() => ec2.start());
  beforeEach(() => ec2.reset());
  afterAll(() => ec2.close());
  return ec2;
}

/** Loads the built file with these environment variables, in a process of its own. */
export async function startBuilt(env: Record<string, string>, file = "index.cjs"): Promise<Lambda> {
  return await Lambda.start(`${DIST}${file}`, env);
}

/** Ends the process, which must have written nothing but log entries. */
export async function stopBuilt(lambda: Lambda): Promise<void> {
  await lambda.stop();
  expect(lambda.output).toBe("");
}

/** The same for one test, at whose end the process ends too. */
export async function builtForTest(env: Record<string, string>, file?: string): Promise<Lambda> {
  const lambda = await startBuilt(env, file);
  onTestFinished(() => stopBuilt(lambda));
  return lambda;
}

/** Gives the tests of a file one process with the built file, as a warm container, and what asks its handler. */
export function useBuilt(ec2: LoopbackEc2) {
  let lambda: Lambda;
  beforeAll(async () => {
    lambda = await startBuilt(ec2.env);
  });
  afterAll(() => stopBuilt(lambda));

  /** Invokes the handler, and checks what holds for every answer and its log entry. */
  return async function askHandler(event: unknown, remaining = 30_000) {
    const invocation = await lambda.invoke(event, { remaining });
    const { entry, level } = checkAnswer(invocation);
    expect(level).toBe(invocation.response.allow ? "info" : "error");
    return { response: invocation.response, entry, durationMs: invocation.durationMs };
  };
}

/** The calls that came to EC2, in short. */
export function callsTo(ec2: LoopbackEc2): string[] {
  return ec2.requests.map(({ action }) => action.replace("ClientVpnConnections", ""));
}

export function statuses(connections: Connection[]): string[] {
  return connections.map(({ status }) => status);
}
