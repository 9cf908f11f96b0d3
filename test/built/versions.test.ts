import { describe, expect, test } from "vitest";
import { ALLOWED } from "../helpers/answers.ts";
import { useEc2, useSettings } from "../helpers/built.ts";
import { connectEvent } from "../helpers/events.ts";

const ec2 = useEc2();
const { askHandlerWith, addConnection } = useSettings(ec2);

describe("a request of a schema version after v3 is a check that failed, without a call", () => {
  const later = (fields: Record<string, unknown> = {}) => connectEvent({ "schema-version": "v4", ...fields });

  test.each<[version: string, settings: Record<string, string>, allow: boolean]>([
    ["v4", {}, false],
    ["v9", {}, false],
    ["v10", {}, false],
    ["v4", { ON_FAILURE: "allow" }, true],
    ["v4", { DRY_RUN: "true" }, true],
  ])("%s with %j", async (version, settings, allow) => {
    const older = addConnection(10);
    const { response, entry, level } = await askHandlerWith(settings, later({ "schema-version": version }));
    expect(response.allow).toBe(allow);
    expect(level).toBe("error");
    expect(entry.reason).toMatch(/^(dry run: )?older connections could not be looked up$/);
    const message = `schema-version: expected 'v3', got '${version}'`;
    expect(entry.errors).toStrictEqual([{ code: "UnknownSchemaVersion", message }]);
    expect(Object(entry.dryRun).decision).toBe("DRY_RUN" in settings ? "deny" : undefined);
    expect(older.status).toBe("active");
    expect(ec2.requests).toHaveLength(0);
  });

  test("also where it has no user name: the name may have moved", async () => {
    const { response, entry } = await askHandlerWith({}, later({ username: undefined }));
    expect(response.allow).toBe(false);
    expect(entry.errors).toMatchObject([{ code: "UnknownSchemaVersion" }]);
  });

  test("but not for an exempt user, whom nothing is to keep out", async () => {
    expect((await askHandlerWith({ EXEMPT_USERS: "alice" }, later())).response).toStrictEqual(ALLOWED);
  });
});

const INVALID = ["v0", "v1", "v2", "v03", "v04", "V4", "v4 ", " v4", "v4.1", "v-4", "4", "v", "v4\n", 4, ["v4"]];

test.each(INVALID.map((version) => ({ version })))(
  "schema version $version is an invalid request, in a dry run too",
  async ({ version }) => {
    const event = connectEvent({ "schema-version": version });
    const { response, entry } = await askHandlerWith({ DRY_RUN: "true", ON_FAILURE: "allow" }, event);
    expect(response.allow).toBe(false);
    expect(entry.reason).toContain("invalid request: schema-version: expected 'v3', got ");
  },
);

test("a later version without what is needed is an invalid request", async () => {
  const event = connectEvent({ "schema-version": "v4", "connection-id": "" });
  const { response, entry } = await askHandlerWith({ ON_FAILURE: "allow" }, event);
  expect(response.allow).toBe(false);
  expect(entry.reason).toContain("invalid request: connection-id: ");
});
