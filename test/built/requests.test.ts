import { describe, expect, test } from "vitest";
import { ENDPOINT_ID } from "../ec2/server.ts";
import { ALLOWED } from "../helpers/answers.ts";
import { useBuilt, useEc2 } from "../helpers/built.ts";
import { BAD_EVENTS, CONNECTION_ID, connectEvent } from "../helpers/events.ts";

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

  test("is named in the log entry where it is invalid too", async () => {
    const { entry } = await askHandler(connectEvent({ "schema-version": "v4", "common-name": "laptop" }));
    const ids = { endpointId: ENDPOINT_ID, connectionId: CONNECTION_ID };
    expect(entry).toMatchObject({ username: "alice", commonName: "laptop", ...ids });
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

  test("makes one line in the log, whatever the user name holds", async () => {
    const username = 'alice\n{"decision":"allow","username":"mallory"}\r\n';
    const { response, entry } = await askHandler(connectEvent({ username }));
    expect(response).toStrictEqual(ALLOWED);
    expect(entry.username).toBe(username);
  });

  test.each<[string, Record<string, unknown>, object]>([
    ["texts", { "public-ip": "198.51.100.4", platform: "win" }, { publicIp: "198.51.100.4", platform: "win" }],
    ["something odd", { "public-ip": 7, platform: { os: "win" } }, { publicIp: "", platform: "" }],
    ["null", { "public-ip": null, platform: null }, { publicIp: "", platform: "" }],
  ])("has in the log from where the login came: %s", async (_, fields, logged) => {
    expect((await askHandler(connectEvent(fields))).entry).toMatchObject(logged);
  });

  test("with an address and a platform of 1 MB leaves a log entry of bounded length", async () => {
    const fields = { "public-ip": "1".repeat(1_000_000), platform: "p".repeat(1_000_000) };
    const { entry } = await askHandler(connectEvent(fields));
    expect(JSON.stringify(entry).length).toBeLessThan(10_000);
  });

  test("with a user name of 1 MB gets an answer, and a log entry of bounded length", async () => {
    const { response, entry } = await askHandler(connectEvent({ username: "a".repeat(1_000_000) }));
    expect(response).toStrictEqual(ALLOWED);
    expect(JSON.stringify(entry).length).toBeLessThan(5_000);
  });
});
