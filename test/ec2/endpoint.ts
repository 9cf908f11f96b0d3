import { element } from "./xml.ts";

/** A Client VPN endpoint, as the loopback EC2 lists it. */
export interface Endpoint {
  /** The API documents pending-associate, available, deleting, deleted and pending. */
  status: string;
  authentication: ("certificate-authentication" | "directory-service-authentication" | "federated-authentication")[];
  /** The client connect handler; undefined: none was ever set. Its status is applying or applied. */
  handler?: { arn: string; status: string; isOff?: boolean };
  /** The CloudWatch log group of the connection log; undefined: none was ever set. */
  connectionLog?: string;
  isConnectionLogOff?: boolean;
  sessionTimeoutHours: number;
  /** Undefined: EC2 does not say. */
  disconnectOnSessionTimeout: boolean | undefined;
  /** Of device posture: crowdstrike, jamf or jumpcloud. */
  trustProviders?: string[];
}

/** What exists where a test says nothing else: users sign in with Active Directory, and nothing else is set. */
export const USUAL_ENDPOINT: Endpoint = {
  status: "available",
  authentication: ["directory-service-authentication"],
  sessionTimeoutHours: 24,
  disconnectOnSessionTimeout: true,
};

/** What EC2 gives of each kind of authentication, beside its type. */
const AUTHENTICATION = {
  "certificate-authentication": element(
    "mutualAuthentication",
    element(
      "clientRootCertificateChain",
      "arn:aws:acm:eu-central-1:111122223333:certificate/0a1b2c3d-1111-2222-3333-444455556666",
    ),
    "xml",
  ),
  "directory-service-authentication": element("activeDirectory", element("directoryId", "d-1234567890"), "xml"),
  "federated-authentication": element(
    "federatedAuthentication",
    element("samlProviderArn", "arn:aws:iam::111122223333:saml-provider/corp"),
    "xml",
  ),
};

/** Returns an endpoint as an item of the list, with its elements as EC2's service model names them. */
export function endpointToXml(id: string, endpoint: Endpoint): string {
  const { status, authentication, handler, connectionLog, isConnectionLogOff = false, sessionTimeoutHours } = endpoint;
  const { disconnectOnSessionTimeout: disconnects, trustProviders } = endpoint;
  const trustProviderSet = trustProviders?.map((type) => element("item", element("trustProviderType", type), "xml"));
  const authenticationOptions = authentication.map((type) =>
    element("item", element("type", type) + AUTHENTICATION[type], "xml"),
  );
  const clientConnectOptions =
    handler === undefined
      ? element("enabled", "false")
      : element("enabled", String(!handler.isOff)) +
        (handler.arn === "" ? "" : element("lambdaFunctionArn", handler.arn)) +
        element("status", element("code", handler.status), "xml");
  const connectionLogOptions =
    connectionLog === undefined
      ? element("Enabled", "false")
      : element("Enabled", String(!isConnectionLogOff)) + element("CloudwatchLogGroup", connectionLog);
  return element(
    "item",
    element("clientVpnEndpointId", id) +
      element("description", "") +
      element("status", element("code", status), "xml") +
      element("creationTime", "2026-01-05T08:00:00") +
      element("dnsName", `*.${id}.prod.clientvpn.eu-central-1.amazonaws.com`) +
      element("clientCidrBlock", "10.0.0.0/16") +
      element("splitTunnel", "true") +
      element("vpnProtocol", "openvpn") +
      element("transportProtocol", "udp") +
      element("vpnPort", "443") +
      element(
        "serverCertificateArn",
        "arn:aws:acm:eu-central-1:111122223333:certificate/9a8b7c6d-1111-2222-3333-444455556666",
      ) +
      element("authenticationOptions", authenticationOptions.join(""), "xml") +
      element("connectionLogOptions", connectionLogOptions, "xml") +
      element("clientConnectOptions", clientConnectOptions, "xml") +
      element("sessionTimeoutHours", String(sessionTimeoutHours)) +
      (disconnects === undefined ? "" : element("disconnectOnSessionTimeout", String(disconnects))) +
      (trustProviderSet
        ? element("devicePostureOptions", element("trustProviderSet", trustProviderSet.join(""), "xml"), "xml")
        : ""),
    "xml",
  );
}
