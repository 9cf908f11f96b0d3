/** A connection, as the loopback EC2 keeps and lists it. */
export interface Connection {
  connectionId: string;
  endpointId: string;
  /** Undefined: the row comes without a user name, but the `username` filter still knows it. */
  username?: string | undefined;
  filterUsername: string;
  /** Undefined: the row comes without it. */
  commonName: string | undefined;
  clientIp: string;
  /** The API documents active, terminating, terminated and failed-to-terminate. Empty: the row comes without it. */
  status: string;
  /** A text is sent as it is; empty: the row comes without it. */
  establishedAt: Date | string;
  endedAt?: Date;
  /** What the client connect handler answered. Undefined: the row comes without them; none: with an empty list. */
  postureComplianceStatuses?: string[] | undefined;
}
