import { createHash } from "node:crypto";

/** By which name a user is known. */
export type Identity = "username" | "common-name";

/** Returns the status that keeps a name with a connection, in other words than the handler's. */
export function keptAs(name: string, identity: Identity = "username"): string {
  const encoded = encodeURIComponent(name).replace(/[!'()*~]/g, (mark) => `%${Buffer.from(mark).toString("hex")}`);
  const status = `vpn-session-handler.${identity}.${encoded.replace(/%../g, (byte) => byte.toLowerCase())}`;
  const hash = `vpn-session-handler.${identity}-sha256.`;
  if (status.length <= 255 && !name.startsWith(hash)) return status;
  return hash + createHash("sha256").update(name).digest("hex");
}

/** Returns what the log calls a user whose names are kept: one whose name does not fit goes by what is kept of it. */
export function loggedAs(name: string, identity?: Identity): string {
  const status = keptAs(name, identity);
  return status.includes("-sha256.") ? status : name;
}
