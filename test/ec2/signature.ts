import { createHash, createHmac } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { ec2Error } from "./faults.ts";

/** Throws EC2's error unless a POST to `/` has the Signature Version 4 that these keys give, computed again from what came. */
export function checkSignature(
  { method, url, headers }: IncomingMessage,
  body: Buffer,
  keys: { accessKeyId: string; secretAccessKey: string },
): void {
  const { authorization } = headers;
  if (authorization === undefined) {
    throw ec2Error(403, "MissingAuthenticationToken", "Request is missing Authentication Token");
  }
  const [, accessKeyId, scope = "", signedHeaders = "", signature] =
    /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\S+?), ?SignedHeaders=(\S+?), ?Signature=([0-9a-f]{64})$/.exec(
      authorization,
    ) ?? [];
  const signed = signedHeaders.split(";").map((name) => `${name}:${String(headers[name]).trim()}\n`);
  const canonical = [method, url, "", signed.join(""), signedHeaders, sha256(body)].join("\n");
  const toSign = ["AWS4-HMAC-SHA256", headers["x-amz-date"], scope, sha256(canonical)].join("\n");
  const key = scope.split("/").reduce<string | Buffer>((k, part) => hmac(k, part), `AWS4${keys.secretAccessKey}`);
  if (accessKeyId !== keys.accessKeyId || hmac(key, toSign).toString("hex") !== signature) {
    throw ec2Error(401, "AuthFailure", "AWS was not able to validate the provided access credentials");
  }
}

function sha256(data: string | Buffer): string {
  return createHash("sha256").update(data).digest("hex");
}

function hmac(key: string | Buffer, data: string): Buffer {
  return createHmac("sha256", key).update(data).digest();
}
