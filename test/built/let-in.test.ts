import { describe, expect, test } from "vitest";
import { ALLOWED, checkAnswer } from "../helpers/answers.ts";
import { BUILT, callsTo, useBuilt, useEc2 } from "../helpers/built.ts";
import { BAD_EVENTS, connectEvent } from "../helpers/events.ts";
import type { Invocable } from "../helpers/lambda.ts";

// The second entry point, for an emergency.

const ec2 = useEc2();
const entryPoint = "letIn";
const reason = "let in without a check: the function's entry point is letIn";

describe.each(BUILT)("dist/%s: letIn", (file) => {
  const { lambda } = useBuilt(ec2, file);

  async function letIn(event: unknown, by: Invocable = lambda()) {
    const invocation = await by.invoke(event, { entryPoint });
    expect(invocation.response).toStrictEqual(ALLOWED);
    expect(ec2.requests).toStrictEqual([]);
    return invocation;
  }

  test("allows a login without asking EC2, ends nobody, and logs whose login it was", async () => {
    const older = ec2.addConnection();
    const { entry, level } = checkAnswer(await letIn(connectEvent()));
    expect(older.status).toBe("active");
    expect(level).toBe("info");
    expect(entry).toMatchObject({ reason, user: "alice", username: "alice", publicIp: "203.0.113.7", errors: [] });
  });

  test("allows whoever a wrong setting denies", async () => {
    const wrong = await lambda().loadWith({ ON_FAILURE: "perhaps", MAX_CONNECTIONS_PER_USER: "0" });
    expect((await wrong.invoke(connectEvent())).response.allow).toBe(false);
    await letIn(connectEvent(), wrong);
  });

  test.each(BAD_EVENTS)("allows %s", async (_, event) => {
    await letIn(event);
  });

  test("passes a sweep by: its entry is none of a sweep or a login", async () => {
    const rows = [ec2.addConnection(), ec2.addConnection()];
    const { log } = await letIn({ sweep: ec2.endpointId });
    const [entry = {}, ...others] = log.map(({ message }) => JSON.parse(String(message[0])));
    expect(entry).toMatchObject({ reason, endpointId: ec2.endpointId });
    expect(entry).not.toHaveProperty("active");
    expect(entry).not.toHaveProperty("decision");
    expect(others).toStrictEqual([]);
    expect(rows.map(({ status }) => status)).toStrictEqual(["active", "active"]);
  });

  test("takes nothing from the handler beside it, which ends the older connection as ever", async () => {
    await letIn(connectEvent());
    const older = ec2.addConnection();
    expect((await lambda().invoke(connectEvent())).response).toStrictEqual(ALLOWED);
    expect(older.status).toBe("terminated");
    expect(callsTo(ec2)).toStrictEqual(["Describe", "Terminate"]);
  });
});
