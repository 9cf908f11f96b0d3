import { expect } from "vitest";
import type { Connection } from "../ec2/connection.ts";
import { ENDPOINT_ID, type LoopbackEc2 } from "../ec2/server.ts";
import { checkSweepLog } from "./answers.ts";
import { sweepThatThrows, useSettings } from "./built.ts";
import type { Invocable } from "./lambda.ts";

const INPUT = { sweep: ENDPOINT_ID };

/** Gives the tests of a file the built file with settings, and what has it sweep. */
export function useSweeps(ec2: LoopbackEc2) {
  const built = useSettings(ec2);
  const { lambda, addConnection } = built;

  /** Returns the user name that EC2 lists for a connection. */
  function userOf(connectionId: string): string | undefined {
    return ec2.connections.find((one) => one.connectionId === connectionId)?.username;
  }

  /** Sweeps, and checks that the log says the same as the result, and whose connections were ended. */
  async function sweep(by: Invocable = lambda(), nameOf: (connectionId: string) => string | undefined = userOf) {
    const { response, log } = await by.sweep(INPUT);
    const { entry, level, users } = checkSweepLog(log);
    const { "endpoint-id": endpointId, terminated, ...counts } = response;
    expect(level).toBe("info");
    expect(entry).toStrictEqual({
      endpointId,
      ...counts,
      terminated: terminated.slice(0, 100),
      terminatedCount: terminated.length,
      notTerminated: [],
      notTerminatedCount: 0,
      errors: [],
      errorCount: 0,
      durationMs: expect.any(Number),
      ...("dryRun" in entry && { dryRun: entry.dryRun }),
    });
    if (entry.dryRun === undefined) {
      expect(users.flatMap(([, ids]) => ids).toSorted()).toStrictEqual(terminated.toSorted());
      for (const [user, ids] of users) expect(new Set(ids.map(nameOf))).toStrictEqual(new Set([user]));
    }
    return { result: response, entry, users };
  }

  /** Sweeps where that cannot be completed, and takes its log entry. */
  async function failingSweep(remaining = 60_000, input: unknown = INPUT, by: Invocable = lambda()) {
    const { message, invocation } = await sweepThatThrows(by, input, { remaining });
    const { log, durationMs, lateMs } = invocation;
    const { entry, level, users } = checkSweepLog(log);
    expect(level).toBe("error");
    return { message, entry, users, durationMs: durationMs - lateMs };
  }

  function addConnectionOf(username: string | undefined, secondsAgo: number, fields: Partial<Connection> = {}) {
    return addConnection(secondsAgo, { username, filterUsername: username ?? "unnamed", ...fields });
  }

  return { ...built, sweep, failingSweep, addConnectionOf };
}
