import { expect, test } from "vitest";
import { ENDPOINT_ID } from "../ec2/server.ts";
import { useMocks } from "../helpers/mocked.ts";

const { ec2, askHandler } = useMocks();

test("an event that has inherited the field sweep is a login", async () => {
  const { response } = await askHandler(Object.create({ sweep: ENDPOINT_ID }));
  expect(response.allow).toBe(false);
  expect(ec2.calls()).toHaveLength(0);
});
