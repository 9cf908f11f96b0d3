/** What went wrong, and what to do about it. */

import { visible } from "./show.ts";

/** A sentence or two for whoever runs this, and the exit status. */
export class Fault extends Error {
  constructor(
    message: string,
    readonly status = 1,
  ) {
    super(message);
  }
}

/** What was asked when an error came. */
export interface Asked {
  action: string;
  endpointId: string;
  /** Empty: it is not known yet. */
  region: string;
  redact: boolean;
}

/** An error's code and message decide which case it is. */
interface Case {
  code?: RegExp;
  message?: RegExp;
  /** What to do; `named` is the first group of `message`. */
  says(asked: Asked, named: string): string;
  /** Whether what AWS said would add nothing. */
  isAll?: true;
}

/** The first that fits is taken. */
const CASES: Case[] = [
  {
    message: /Region is missing|^Region not accepted: region="\s*" is/,
    says: () => "No AWS Region is set. Name it with --region, or set AWS_REGION or the profile's region.",
    isAll: true,
  },
  {
    message: /^Region not accepted: region="(.*)" is/s,
    says: ({ redact }, named) =>
      `${redact ? "What is set as AWS Region" : `"${visible(named).slice(0, MOST)}"`} is not the name of one. ` +
      "Name it with --region, or correct AWS_REGION or the profile's region.",
    isAll: true,
  },
  {
    code: /^(Credentials|Token)ProviderError$/,
    message: /multi-factor/,
    says: () =>
      "Your profile asks for MFA, which the AWS CLI alone can do. Get a session of it, and try again with --region: " +
      'eval "$(aws configure export-credentials --format env)"; unset AWS_PROFILE',
  },
  {
    code: /^(Credentials|Token)ProviderError$/,
    message: /using `?aws login|[\\/]login[\\/]cache[\\/]/,
    says: () => "Your AWS login has expired. Sign in again: aws login, with your profile.",
  },
  {
    code: /^(Credentials|Token)ProviderError$/,
    message: /expired|sso/i,
    says: () => "Your AWS login has expired. Sign in again: aws sso login, with your profile.",
  },
  {
    code: /^(Credentials|Token)ProviderError$/,
    says: () =>
      "There are no AWS credentials. Sign in (aws sso login, aws configure), or name a profile in AWS_PROFILE.",
  },
  {
    code: /^(ExpiredToken(Exception)?|RequestExpired)$/,
    says: () => "Your AWS login has expired. Sign in again, or get new credentials. Is this machine's clock right?",
  },
  {
    code: /^(AuthFailure|InvalidClientTokenId|UnrecognizedClientException|SignatureDoesNotMatch)$/,
    says: ({ region }) =>
      `AWS does not accept your credentials in ${region}. Check the access key, and whether that Region is turned on.`,
  },
  {
    code: /^(UnauthorizedOperation|AccessDenied(Exception)?)$/,
    says: ({ action }) =>
      `Your credentials lack the right ec2:${action} on ` +
      `${action === "DescribeClientVpnEndpoints" ? "*" : "the endpoint"}. Ask your administrator for it.`,
  },
  {
    code: /^InvalidClientVpnEndpointId/,
    says: ({ endpointId, region, redact }) =>
      `There is no endpoint ${redact ? "endpoint 1" : endpointId} in ${region}. ` +
      "Check the id, the Region (--region) and the account.",
    isAll: true,
  },
  {
    code: /Throttl|LimitExceeded/,
    says: ({ action }) => `EC2 throttles ${action} in this account. Try again in a minute.`,
  },
  {
    code: /SELF_SIGNED|^UNABLE_TO_|^CERT_UNTRUSTED$/,
    says: ({ region }) =>
      `Node.js does not know who signed the certificate that came for EC2 in ${region}: a firewall may read what is sent. ` +
      "Name the file with its certificate (PEM) in NODE_EXTRA_CA_CERTS, or run this in CloudShell.",
  },
  {
    code: /^ERR_PROXY_INVALID_CONFIG$/,
    says: () => "HTTPS_PROXY is not the address of a proxy, such as http://proxy.example:3128. Correct it.",
    isAll: true,
  },
  {
    code: /^E[A-Z_]+$|Timeout/,
    says: ({ region }) => `EC2 in ${region} cannot be reached. ${proxyAdvice()}`,
  },
];
const OTHERWISE: Case = {
  says: ({ action }) => `EC2 did not answer ${action} as it should. Try again in a minute.`,
};

/** How much is shown of what was said or set, in characters. */
const MOST = 300;

/** What a proxy is to know, in its URL: a user and a password, either of which may have an @. */
const USER_INFO = /\/\/[^/\s]*@/g;

/** Returns one sentence that says what to do, and on a second line what AWS said. */
export function faultOf(error: unknown, asked: Asked): string {
  const { name, code: systemCode, message: text } = Object(error);
  const code = typeof systemCode === "string" ? systemCode : String(name);
  const message = String(text);
  const fits = (one: Case) => (one.code?.test(code) ?? true) && (one.message?.test(message) ?? true);
  const found = CASES.find(fits) ?? OTHERWISE;
  const says = found.says(asked, found.message?.exec(message)?.[1] ?? "");
  if (found.isAll) return says;
  // Names, ARNs and accounts are in the messages alone.
  const answer = asked.redact ? code : `${code}: ${message}`.replace(USER_INFO, "//");
  return `${says}\nThe answer was ${visible(answer).slice(0, MOST)}`;
}

function proxyAdvice(): string {
  if (!process.env.HTTPS_PROXY && !process.env.https_proxy) {
    return "Check your connection, the proxy (HTTPS_PROXY), and the Region.";
  }
  // With the option came what an agent takes as proxyEnv.
  return process.allowedNodeEnvironmentFlags.has("--use-env-proxy")
    ? "The proxy in HTTPS_PROXY was used, unless NO_PROXY names EC2. Check it, your connection, and the Region."
    : `The proxy in HTTPS_PROXY was not used: Node.js ${process.version} cannot. Use Node.js 24, or run this in CloudShell.`;
}
