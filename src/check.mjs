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

/**
 * What Lambda calls.
 *
 * @param {Record<string, unknown> | null} event of a login or of a sweep, which has none of a login's fields
 * @param {Partial<import("aws-lambda").Context>} context
 */
export async function handler(event, context) {
  if (event && isRefused(event)) return refuse(event);
  const answer = await sessions(event, context);
  if (!("allow" in answer && answer.allow)) return answer;
  // Client VPN takes ten.
  const statuses = [...answer["posture-compliance-statuses"], STATUS.passed].slice(0, 10);
  return { ...answer, "posture-compliance-statuses": statuses };
}

/**
 * Denies, or in a dry run lets in, with an entry in the log that the stack's alarms and queries know.
 *
 * @param {Record<string, unknown>} login
 */
function refuse(login) {
  const { AWS_LAMBDA_LOG_FORMAT, DRY_RUN, IDENTITY } = process.env;
  const allow = DRY_RUN === "true";
  const entry = {
    decision: allow ? "allow" : "deny",
    reason: allow ? `dry run: ${REASON}` : REASON,
    user: login[IDENTITY || "username"],
    username: login.username,
    commonName: login["common-name"],
    publicIp: login["public-ip"],
    platform: login.platform,
    endpointId: login["endpoint-id"],
    connectionId: login["connection-id"],
    errorCount: 0,
    dryRun: allow ? { decision: "deny" } : undefined,
  };
  console.error(AWS_LAMBDA_LOG_FORMAT === "JSON" ? entry : JSON.stringify(entry));
  return {
    allow,
    "error-msg-on-denied-connection": allow ? "" : NOTICE,
    "posture-compliance-statuses": [STATUS.refused],
    "schema-version": "v3",
  };
}
