/** What the handler calls. */
export type Action = "DescribeClientVpnConnections" | "TerminateClientVpnConnections";

/** What there is to call. */
export type AnyAction = Action | "DescribeClientVpnEndpoints";

/**
 * What can go wrong with one request:
 * - an error document with its HTTP status;
 * - `hang`: no answer; `reset`: the socket is reset; `drip`: an endless body, a byte at a time; `stall`: half a body,
 *   then silence; `truncate`: half a body, then the socket is closed;
 * - a 200 of something that is not EC2 and does nothing: `not-xml`; `empty`: without a body; `web-page`; `error-in-200`: an
 *   error document; `other-document`: the answer to another action;
 * - `another-endpoint`: an answer for another endpoint: the connections listed are others, or nobody here is ended;
 * - for DescribeClientVpnConnections, `endless`: a page after which there is always another one; `same-token`: a page whose
 *   token leads to itself; `duplicates`: each row twice; `without ...`: rows that lack this element; `odd-statuses`: all
 *   rows have a status that the API does not document;
 * - for TerminateClientVpnConnections, `failed-to-terminate`: a failure inside a 200; `odd-status`: nobody is ended, and the
 *   status is one that the API does not document; `no-statuses`: terminated, but the answer does not say so.
 */
export type Fault = ErrorDocument | (typeof FAULTS)[Action][number];

export interface ErrorDocument {
  status: number;
  code: string;
  message: string;
  headers?: Record<string, string>;
  /** Instead of EC2's document. */
  body?: string;
}

/** The bodies of answers that are not EC2's. */
export const FOREIGN_BODIES = {
  empty: "",
  "not-xml": "upstream connect error",
  "web-page": "<!DOCTYPE html><html><head><title>Sign in</title></head><body><p>Please sign in.</p></body></html>",
  "error-in-200": "<Response><Errors><Error><Code>RequestLimitExceeded</Code></Error></Errors></Response>",
  "other-document":
    '<DescribeVpcsResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><vpcSet/></DescribeVpcsResponse>',
} as const;

const OF_BOTH = [
  "hang",
  "reset",
  "drip",
  "stall",
  "truncate",
  "not-xml",
  "empty",
  "web-page",
  "error-in-200",
  "other-document",
  "another-endpoint",
] as const;

export const FAULTS = {
  DescribeClientVpnConnections: [
    ...OF_BOTH,
    "endless",
    "same-token",
    "duplicates",
    "without connectionId",
    "without username",
    "without commonName",
    "without status",
    "without clientVpnEndpointId",
    "without connectionEstablishedTime",
    "odd-statuses",
  ],
  TerminateClientVpnConnections: [...OF_BOTH, "failed-to-terminate", "odd-status", "no-statuses"],
} as const;

export const THROTTLED = {
  status: 503,
  code: "RequestLimitExceeded",
  message: "Request limit exceeded.",
} satisfies ErrorDocument;

export const REFUSED = {
  status: 403,
  code: "UnauthorizedOperation",
  message: "You are not authorized",
} satisfies ErrorDocument;

/** What EC2 answers when the caller's clock is wrong; the SDK corrects its clock by the date, and tries again. */
export function clockSkewed(byMs: number): ErrorDocument {
  const date = new Date(Date.now() + byMs).toUTCString();
  return { status: 400, code: "RequestExpired", message: "Request has expired.", headers: { date } };
}

/** The faults of an answer by which its reader does not learn of the connections in it. */
export const NOT_SHOWN = new Set<Fault>(["drip", "stall", "truncate", "another-endpoint"]);

export function isForeign(fault: Fault | undefined): fault is keyof typeof FOREIGN_BODIES {
  return typeof fault === "string" && fault in FOREIGN_BODIES;
}

/** What EC2 answers instead of what was asked for. */
export class Ec2Error extends Error {
  constructor(readonly document: ErrorDocument) {
    super(document.message);
  }
}

export function ec2Error(status: number, code: string, message: string): Ec2Error {
  return new Ec2Error({ status, code, message });
}
