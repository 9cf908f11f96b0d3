import type { Connection } from "./connection.ts";
import type { Fault } from "./faults.ts";

export const DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n';
export const XMLNS = "http://ec2.amazonaws.com/doc/2016-11-15/";
export const ANOTHER_ENDPOINT = "cvpn-endpoint-0a0a0a0a0a0a0a0a0";
export const ODD_STATUS = "suspended";

/** Returns a connection as an item of the list, without the elements that are hidden. */
export function toXml(row: Connection, hidden: ReadonlySet<string>, fault: Fault | undefined): string {
  const statuses = row.postureComplianceStatuses?.map((status) => element("item", status));
  const elements = {
    clientVpnEndpointId: element(
      "clientVpnEndpointId",
      fault === "another-endpoint" ? ANOTHER_ENDPOINT : row.endpointId,
    ),
    timestamp: element("timestamp", timestamp(new Date())),
    connectionId: element("connectionId", fault === "another-endpoint" ? `${row.connectionId}f` : row.connectionId),
    username: row.username === undefined ? "" : element("username", row.username),
    connectionEstablishedTime:
      row.establishedAt === "" ? "" : element("connectionEstablishedTime", timestamp(row.establishedAt)),
    traffic: ["ingressBytes", "egressBytes", "ingressPackets", "egressPackets"]
      .map((name) => element(name, "0"))
      .join(""),
    clientIp: element("clientIp", row.clientIp),
    commonName: row.commonName === undefined ? "" : element("commonName", row.commonName),
    status:
      row.status === ""
        ? ""
        : `<status>${element("code", fault === "odd-statuses" ? ODD_STATUS : row.status)}</status>`,
    connectionEndTime: element("connectionEndTime", row.endedAt === undefined ? "-" : timestamp(row.endedAt)),
    postureComplianceStatusSet:
      statuses === undefined ? "" : element("postureComplianceStatusSet", statuses.join(""), "xml"),
  };
  const sent = Object.entries(elements).filter(([name]) => fault !== `without ${name}` && !hidden.has(name));
  return `<item>${sent.map(([, xml]) => xml).join("")}</item>`;
}

/** `2019-08-12 07:57:14`: UTC, as Client VPN writes it. */
function timestamp(time: Date | string): string {
  return typeof time === "string" ? time : time.toISOString().slice(0, 19).replace("T", " ");
}

/** Returns an element around a text, or around what is XML already. */
export function element(name: string, content: string, kind: "text" | "xml" = "text"): string {
  if (kind === "xml") return `<${name}>${content}</${name}>`;
  const entities: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\r": "&#13;" };
  return `<${name}>${content.replace(/[&<>"\r]/g, (character) => entities[character] ?? character)}</${name}>`;
}
