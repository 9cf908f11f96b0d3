import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, onTestFinished, test } from "vitest";
import { ENDPOINT_ID } from "../ec2/server.ts";
import { ALLOWED } from "../helpers/answers.ts";
import { builtForTest, callsTo, statuses, useEc2 } from "../helpers/built.ts";
import { CONNECTION_ID, connectEvent } from "../helpers/events.ts";
import { DIST } from "../helpers/lambda.ts";

// src/check.mjs, the sample of a check of one's own, in front of the built files: in a layer as with the stack, and beside them.

const ec2 = useEc2();
const CHECK = fileURLToPath(new URL("../../src/check.mjs", import.meta.url));
const TOO_OLD = connectEvent({ "aws-client-version": "4.9.1" });
const REFUSED = {
  allow: false,
  "error-msg-on-denied-connection": "Please update your VPN client to version 5 or later.",
  "posture-compliance-statuses": ["client too old"],
  "schema-version": "v3",
};
const PASSED = { ...ALLOWED, "posture-compliance-statuses": ["client not too old"] };

/** Loads the check where it finds the session handler, which somebody has put there, under this name. */
async function checkBefore(
  index: string,
  put: (file: string) => void,
  settings: Record<string, string> = {},
  layer = "",
) {
  // The file to paste needs the SDK that is installed beside it. What ends with .js must not be taken for an ES module.
  const root = mkdtempSync(join(index.endsWith(".mjs") ? DIST : tmpdir(), "client-vpn-check-"));
  onTestFinished(() => rmSync(root, { recursive: true }));
  const [task, opt] = [join(root, "task"), join(root, layer || "task")];
  for (const folder of [task, opt]) mkdirSync(folder, { recursive: true });
  put(join(task, index));
  cpSync(CHECK, join(opt, "check.mjs"));
  return builtForTest({ ...ec2.env, ...settings, LAMBDA_TASK_ROOT: task }, join(opt, "check.mjs"));
}
const copyOf = (built: string) => (file: string) => cpSync(`${DIST}${built}`, file);

test.each([
  ["in a layer, before the stack's index.js", "index.js", "index.cjs", "opt"],
  ["beside index.cjs from function.zip", "index.cjs", "index.cjs", ""],
  ["beside what was pasted into index.mjs", "index.mjs", "paste.mjs", ""],
])("denies first, and has the session handler do the rest, sweeps too: %s", async (_, index, built, layer) => {
  const lambda = await checkBefore(index, copyOf(built), { AWS_LAMBDA_LOG_FORMAT: "JSON" }, layer);
  const older = [ec2.addConnection({ establishedAt: new Date(1_700_000_000_000) }), ec2.addConnection()];
  const refused = await lambda.invoke(TOO_OLD);
  expect(refused.response).toStrictEqual(REFUSED);
  expect(callsTo(ec2)).toStrictEqual([]);
  expect((await lambda.sweep({ ...TOO_OLD, sweep: ENDPOINT_ID })).response.terminated).toStrictEqual([
    older[0]?.connectionId,
  ]);
  const passed = await lambda.invoke(connectEvent({ "aws-client-version": "5.2.0" }));
  expect(passed.response).toStrictEqual(PASSED);
  for (const version of ["", undefined, null]) {
    const { response } = await lambda.invoke(connectEvent({ "aws-client-version": version }));
    expect(response).toStrictEqual(PASSED);
  }
  expect(statuses(older)).toStrictEqual(["terminated", "terminated"]);
  for (const event of [null, "v3", [TOO_OLD], {}]) {
    expect((await lambda.invoke(event)).response).toMatchObject({ allow: false, "posture-compliance-statuses": [] });
  }

  // One entry each, with the names that the session handler's has, so that alarms and queries find it.
  const [entry, ofHandler] = [refused, passed].map(({ log }) => Object(log[0]?.message[0]));
  expect(refused.log).toMatchObject([
    {
      level: "error",
      message: [
        { decision: "deny", reason: "client too old", user: "alice", connectionId: CONNECTION_ID, errorCount: 0 },
      ],
    },
  ]);
  expect(Object.keys(ofHandler)).toStrictEqual(expect.arrayContaining(Object.keys(entry)));
  const { username, commonName, publicIp, platform, endpointId, connectionId } = ofHandler;
  expect(entry).toMatchObject({ username, commonName, publicIp, platform, endpointId, connectionId });
});

test("lets everybody in while it is a dry run, logs in a line what it would have done, and keeps the name", async () => {
  const settings = { DRY_RUN: "true", IDENTITY: "common-name", KEEP_NAMES: "true" };
  const lambda = await checkBefore("index.cjs", copyOf("index.cjs"), settings);
  const older = ec2.addConnection({ commonName: "laptop" });
  const { response, log } = await lambda.invoke({ ...TOO_OLD, "common-name": "laptop", username: "a\nb" });
  const kept = "vpn-session-handler.common-name.laptop";
  expect(response).toStrictEqual({ ...ALLOWED, "posture-compliance-statuses": [kept, "client too old"] });
  const [own, ofHandler] = log.map(({ level, message }) => {
    expect(message).toStrictEqual([expect.stringMatching(/^\{.*\}$/)]);
    return { level, entry: JSON.parse(String(message[0])) };
  });
  expect(own).toMatchObject({
    level: "error",
    entry: {
      decision: "allow",
      reason: "dry run: client too old",
      user: "laptop",
      username: "a\nb",
      dryRun: { decision: "deny" },
    },
  });
  expect(ofHandler).toMatchObject({ level: "info", entry: { dryRun: { terminated: [older.connectionId] } } });
  expect(older.status).toBe("active");
});

test("has its status after those of the session handler, ten in all, and leaves a denial as it is", async () => {
  const answering = (file: string) => writeFileSync(file, "exports.handler = async (answer) => answer;");
  const lambda = await checkBefore("index.js", answering);
  const statusesOf = async (event: object) => (await lambda.invoke(event)).response["posture-compliance-statuses"];
  const many = (length: number) => Array.from({ length }, (_, i) => `status ${i}`);
  const answer = (allow: boolean, length: number) => ({ allow, "posture-compliance-statuses": many(length) });
  expect(await statusesOf(answer(true, 9))).toStrictEqual([...many(9), "client not too old"]);
  expect(await statusesOf(answer(true, 10))).toStrictEqual(many(10));
  expect(await statusesOf(answer(false, 1))).toStrictEqual(many(1));
});
