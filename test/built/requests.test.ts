import { describe, expect, test } from "vitest";
import { ALLOWED } from "../helpers/answers.ts";
import { useBuilt, useEc2 } from "../helpers/built.ts";
import { BAD_EVENTS, connectEvent } from "../helpers/events.ts";

const ec2 = useEc2();
const { askHandler } = useBuilt(ec2);

describe("the request", () => {
  test.each(BAD_EVENTS)("is denied and EC2 not called: %s", async (_, event, reason) => {
    const { response, entry } = await askHandler(event);
    expect(response.allow).toBe(false);
    expect(response["error-msg-on-denied-connection"]).toMatch(/contact your VPN administrator/);
    expect(entry.reason).toContain(reason);
    expect(entry.reason.length).toBeLessThan(5_000);
    expect(ec2.requests).toHaveLength(0);
  });

  test.each([
    ["groups", ["a", "b"]],
    ["groups", null],
    ["groups", "admins"],
    ["common-name", 7],
    ["platform", {}],
    ["public-ip", []],
    ["aws-client-version", null],
    ["a-field-not-yet-known", { deep: [1] }],
    ["__proto__", { allow: true }],
  ])("is allowed with an odd %s: %j", async (field, value) => {
    const event = JSON.parse(`{${JSON.stringify(field)}: ${JSON.stringify(value)}}`);
    const { response } = await askHandler(
      Object.assign(event, connectEvent(field === "groups" ? { groups: value } : {})),
    );
    expect(response).toStrictEqual(ALLOWED);
  });

  test("is allowed with the four needed fields alone", async () => {
    const { "schema-version": version, "connection-id": id, "endpoint-id": endpoint, username } = connectEvent();
    const event = { "schema-version": version, "connection-id": id, "endpoint-id": endpoint, username };
    expect((await askHandler(event)).response).toStrictEqual(ALLOWED);
  });

  test.each([
    ["empty", connectEvent({ username: "" })],
    ["null", connectEvent({ username: null })],
    ["absent", connectEvent({ username: undefined })],
  ])("is allowed, and EC2 not called, when the user name is %s", async (_, event) => {
    ec2.addConnection({ username: "", filterUsername: "" });
    const { response, entry } = await askHandler(event);
    expect(response).toStrictEqual(ALLOWED);
    expect(entry.reason).toBe("no username to compare");
    expect(ec2.requests).toHaveLength(0);
  });
});
