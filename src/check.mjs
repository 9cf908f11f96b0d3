// A check of your own in front of the session handler. This one refuses old versions of AWS's client. AWS takes the version
// from the user's device: so it keeps out old clients, and no attacker. Put your own check into `isRefused`, and your words
// into the four texts. A refused login ends nobody's connection; all others go to the session handler, and so do sweeps.
//
// With the stack, this file is in a layer, and the entry point is /opt/check.handler. Without one, it lies beside the
// session handler's file, and the entry point is check.handler.

import { existsSync } from "node:fs";
import process from "node:process";

const REASON = "client too old"; // for the log
const NOTICE = "Please update your VPN client to version 5 or later."; // for the user, at most 255 characters
const STATUS = { refused: "client too old", passed: "client not too old" }; // for the connection log, each at most 255

/** @param {Record<string, unknown>} login what Client VPN sends; what this throws denies the login, in a dry run too */
const isRefused = (login) => /^[0-4]\./.test(String(login["aws-client-version"]));

// The name that it has in the stack, in function.zip, and where somebody pasted it.
const files = ["index.js", "index.cjs", "index.mjs"].map((name) => `${process.env.LAMBDA_TASK_ROOT}/${name}`);
/** @type {typeof import("./handler.ts")} */
const { handler: sessions } = await import(files.find((file) => existsSync(file)) ?? files.join(" or "));

const isDryRun = process.env.DRY_RUN === "true";

/**
 * What Lambda calls.
 *
 * @param {Record<string, unknown> | null} event of a login or of a sweep
 * @param {Partial<import("aws-lambda").Context>} context
 */
export async function handler(event, context) {
  // A sweep has none of a login's fields, and must not be taken for one.
  const isOwnRefusal = event !== null && !Object.hasOwn(event, "sweep") && isRefused(event);
  if (isOwnRefusal) log(event);
  if (isOwnRefusal && !isDryRun) {
    const statuses = { "posture-compliance-statuses": [STATUS.refused], "schema-version": "v3" };
    return { allow: false, "error-msg-on-denied-connection": NOTICE, ...statuses };
  }
  const answer = await sessions(event, context);
  if (!("allow" in answer && answer.allow)) return answer;
  // After the session handler's, which may keep the user's name. Client VPN takes ten.
  const status = isOwnRefusal ? STATUS.refused : STATUS.passed;
  return { ...answer, "posture-compliance-statuses": [...answer["posture-compliance-statuses"], status].slice(0, 10) };
}

/**
 * Writes an entry that the stack's alarms and queries know. In a dry run, the session handler writes one of its own too.
 *
 * @param {Record<string, unknown>} login
 */
function log(login) {
  const { AWS_LAMBDA_LOG_FORMAT, IDENTITY } = process.env;
  const entry = {
    decision: isDryRun ? "allow" : "deny",
    reason: isDryRun ? `dry run: ${REASON}` : REASON,
    user: login[IDENTITY || "username"],
    username: login.username,
    commonName: login["common-name"],
    publicIp: login["public-ip"],
    platform: login.platform,
    endpointId: login["endpoint-id"],
    connectionId: login["connection-id"],
    errorCount: 0,
    dryRun: isDryRun ? { decision: "deny" } : undefined,
  };
  console.error(AWS_LAMBDA_LOG_FORMAT === "JSON" ? entry : JSON.stringify(entry));
}
