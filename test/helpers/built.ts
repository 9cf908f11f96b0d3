import { resolve } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, onTestFinished } from "vitest";
import { authorize } from "../ec2/client-vpn.ts";
import type { Connection } from "../ec2/connection.ts";
import { LoopbackEc2 } from "../ec2/server.ts";
import { checkAnswer, checkUsualAnswer } from "./answers.ts";
import { connectEvent } from "./events.ts";
import { DIST, type Invocable, InvocationError, type InvokeOptions, Lambda } from "./lambda.ts";

/** Gives tests an EC2 that all of them share, also those of the same time. */
export function useSharedEc2(): LoopbackEc2 {
  const ec2 = new LoopbackEc2();
  beforeAll(() => ec2.start());
  afterAll(() => ec2.close());
  return ec2;
}

/** The same for tests that come one after the other: it begins anew with each of them. */
export function useEc2(): LoopbackEc2 {
  const ec2 = useSharedEc2();
  beforeEach(() => ec2.reset());
  return ec2;
}

/** The files that are built from the handler. */
export const BUILT = ["index.cjs", "paste.mjs"];

/** Loads the built file, or one elsewhere, with these environment variables, in a process of its own. */
export async function startBuilt(env: Record<string, string>, file = "index.cjs"): Promise<Lambda> {
  return await Lambda.start(resolve(DIST, file), env);
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

/** Gives tests one process with the built file and settings, as a warm container, and what asks it. */
export function useBuilt(ec2: LoopbackEc2, file?: string, settings: Record<string, string> = {}) {
  let lambda: Lambda;
  beforeAll(async () => {
    lambda = await startBuilt({ ...ec2.env, ...settings }, file);
  });
  // Where an assertion fails, nobody waits for what else the test began: it would go on with the next test's connections.
  afterEach(() => lambda.settled());
  afterAll(() => stopBuilt(lambda));

  return {
    lambda: () => lambda,
    /** Invokes the handler for a login, and checks what holds for every answer and its log entry. */
    async askHandler(event: unknown, remaining = 30_000) {
      const invocation = await lambda.invoke(event, { remaining });
      return { response: invocation.response, entry: checkUsualAnswer(invocation) };
    },
  };
}

/** Gives the tests of a file the built file with settings, loaded once with the same ones, and connections of a given age. */
export function useSettings(ec2: LoopbackEc2) {
  const { lambda, askHandler } = useBuilt(ec2);
  const loaded = new Map<string, Promise<Invocable>>();
  function lambdaWith(settings: Record<string, string>): Promise<Invocable> {
    const key = JSON.stringify(settings);
    const known = loaded.get(key) ?? lambda().loadWith(settings);
    loaded.set(key, known);
    return known;
  }

  /** Asks the handler with these settings, about a connection of alice's if nothing else is given. */
  async function askHandlerWith(settings: Record<string, string>, event: unknown = connectEvent()) {
    const lambda = await lambdaWith(settings);
    const invocation = await lambda.invoke(event);
    return { response: invocation.response, ...checkAnswer(invocation) };
  }

  let logins = 0;
  /**
   * Has alice log in with these settings, or somebody else: what the handler allows is a connection from then on, as EC2
   * lists it or as is given.
   */
  async function logInWith(
    settings: Record<string, string>,
    request: Record<string, unknown> = {},
    listed: Partial<Connection> = {},
  ) {
    const event = connectEvent({ "connection-id": `cvpn-connection-${++logins}`, ...request });
    const { connection, ...invocation } = await authorize(ec2, await lambdaWith(settings), event, listed);
    return { response: invocation.response, connection, ...checkAnswer(invocation) };
  }

  function addConnection(secondsAgo: number, connection: Partial<Connection> = {}): Connection {
    return ec2.addConnection({ establishedAt: new Date(Date.now() - secondsAgo * 1_000), ...connection });
  }

  return { lambda, lambdaWith, askHandler, askHandlerWith, logInWith, addConnection };
}

/** Sweeps where that cannot be completed. */
export async function sweepThatThrows(by: Invocable, input: unknown, options: InvokeOptions): Promise<InvocationError> {
  const thrown = await by.sweep(input, options).then(
    () => expect.unreachable("the sweep did not throw"),
    (error: unknown) => error,
  );
  if (!(thrown instanceof InvocationError)) throw thrown;
  return thrown;
}

/** The calls that came to EC2, or those of them whose parameters are such, in short. */
export function callsTo(ec2: LoopbackEc2, isOne: (params: URLSearchParams) => boolean = () => true): string[] {
  return ec2.requests
    .filter(({ params }) => isOne(params))
    .map(({ action }) => action.replace("ClientVpnConnections", ""));
}

export function statuses(connections: Connection[]): string[] {
  return connections.map(({ status }) => status);
}
