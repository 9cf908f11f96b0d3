/** Client VPN's own connection log, in the form that the administrator guide shows ("Connection log entries"). */

import { ENDPOINT_ID } from "../ec2/server.ts";
import { type Row, rowOf } from "./logs-insights.ts";

/** What an entry is about. */
export type ConnectionKind = "waiting" | "connected" | "updated" | "ended" | "failed" | "of another endpoint";

/** A connection that is attempted, as far as the entries of two differ. */
interface Attempt {
  user: string;
  /** Of the client's certificate. */
  commonName?: string;
  from: string;
  /** In the form of the log: it has no time zone. */
  at: string;
  /** Why it failed. */
  failure?: string;
  endpoint?: string;
}

/** What is the same in each entry, as nothing depends on it. */
const OTHERS = {
  "connection-reset-status": "NA",
  "transport-protocol": "udp",
  port: "50096",
  "ingress-bytes": "0",
  "egress-bytes": "0",
  "ingress-packets": "0",
  "egress-packets": "0",
};

/** Returns the entries of a few days, the oldest first. */
export function connectionLog(attempts: Attempt[]): { kind: ConnectionKind; row: Row }[] {
  const entries = attempts.flatMap((attempt, i) => entriesOf(attempt, `cvpn-connection-${i}`));
  const timeOf = ({ row }: (typeof entries)[number]) => String(row["@timestamp"]);
  return entries.toSorted((a, b) => timeOf(a).localeCompare(timeOf(b)));
}

function entriesOf({ user, commonName = "NA", from, at, failure, endpoint = ENDPOINT_ID }: Attempt, id: string) {
  const later = (hours: number) => new Date(Date.parse(`${at}Z`) + hours * 3_600_000).toISOString();
  const entry = (kind: ConnectionKind, hours: number, type: string, status: string, fields: object) => {
    const time = later(hours);
    const entire = {
      "connection-log-type": type,
      "connection-attempt-status": status,
      "connection-attempt-failure-reason": failure ?? "NA",
      "connection-id": id,
      "client-vpn-endpoint-id": endpoint,
      "connection-start-time": failure ? "NA" : at,
      "connection-last-update-time": time.slice(0, 19).replace("T", " "),
      "client-ip": failure ? "NA" : "10.0.1.2",
      "common-name": commonName,
      "device-type": "mac",
      "device-ip": from,
      ...OTHERS,
      "connection-end-time": "NA",
      username: user,
      ...fields,
    };
    const told: ConnectionKind = endpoint === ENDPOINT_ID ? kind : "of another endpoint";
    return { kind: told, row: { "@timestamp": time, "@message": JSON.stringify(entire), ...rowOf(entire) } };
  };
  // Which status an update has, and how many entries a failure, is not documented: a connection counts once.
  const waiting = entry("waiting", 0, "connection-attempt", "waiting-for-assertion", {});
  const failed = (hours: number) => entry("failed", hours, "connection-attempt", "failed", {});
  if (failure) return [waiting, failed(0.01), failed(0.015)];
  const end = { "connection-end-time": later(2).slice(0, 19).replace("T", " "), "connection-duration-seconds": "7200" };
  return [
    waiting,
    entry("connected", 0.01, "connection-attempt", "successful", {}),
    entry("updated", 1, "connection-attempt", "successful", { "ingress-bytes": "21017" }),
    entry("ended", 2, "connection-reset", "NA", end),
  ];
}
