import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, onTestFinished, test } from "vitest";
import { faultOf } from "../../src/preview/faults.ts";
import { selfSigned } from "../ec2/certificate.ts";
import { REFUSED, THROTTLED } from "../ec2/faults.ts";
import { ENDPOINT_ID, LoopbackEc2 } from "../ec2/server.ts";
import { useEc2 } from "../helpers/built.ts";
import { usePreview } from "../helpers/preview.ts";

// Where the preview finds Region and credentials, and what it says when it cannot look.

const ec2 = useEc2();
const preview = usePreview(() => ec2.env);

afterEach(() => expect(ec2.requests.filter(({ action }) => !action.startsWith("Describe"))).toStrictEqual([]));

const NO_KEYS = { AWS_ACCESS_KEY_ID: undefined, AWS_SECRET_ACCESS_KEY: undefined };

/** Writes AWS's two files of settings, and returns the variables that lead to them. */
function awsFiles(config: string, credentials = ""): Record<string, string> {
  const folder = mkdtempSync(join(tmpdir(), "client-vpn-aws-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  writeFileSync(join(folder, "config"), config);
  writeFileSync(join(folder, "credentials"), credentials);
  return { AWS_CONFIG_FILE: join(folder, "config"), AWS_SHARED_CREDENTIALS_FILE: join(folder, "credentials") };
}

test.each([undefined, "built"] as const)("takes Region and credentials from a profile's files: %s", async (from) => {
  const keys = `aws_access_key_id = ${ec2.accessKeyId}\naws_secret_access_key = ${ec2.secretAccessKey}\n`;
  const files = awsFiles("[profile network]\nregion = ap-southeast-2\n", `[network]\n${keys}`);
  const variables = { ...NO_KEYS, ...files, AWS_REGION: undefined, AWS_PROFILE: "network" };
  const { status, stdout, stderr } = await preview([ENDPOINT_ID], variables, from && { from });
  expect([status, stderr]).toStrictEqual([0, ""]);
  expect(stdout).toContain(`${ENDPOINT_ID} in ap-southeast-2\n`);
});

test.each(["eu-west-1", "us-gov-west-1"])("--region goes before the Region that is set: %s", async (region) => {
  const { stdout } = await preview([ENDPOINT_ID, "--region", region]);
  expect(stdout).toContain(`${ENDPOINT_ID} in ${region}\n`);
});

test("leaves nothing behind where it runs", async () => {
  const folder = mkdtempSync(join(tmpdir(), "client-vpn-home-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  await preview([ENDPOINT_ID], { HOME: folder });
  expect(readdirSync(folder)).toStrictEqual([]);
});

describe("a fault is a sentence or two, and what AWS said", () => {
  async function fault(variables: Record<string, string | undefined> = {}, ...args: string[]): Promise<string> {
    const { status, stdout, stderr } = await preview([ENDPOINT_ID, ...args], variables);
    expect([status, stdout]).toStrictEqual([1, ""]);
    expect(stderr).toMatch(/^[^\n]+\n([^\n]+\n)?$/);
    expect(stderr).not.toContain("    at ");
    return stderr;
  }

  test("no Region", async () => {
    expect(await fault({ AWS_REGION: undefined })).toBe(
      "No AWS Region is set. Name it with --region, or set AWS_REGION or the profile's region.\n",
    );
  });

  test.each(["", " "])("a Region that is empty: '%s'", async (AWS_REGION) => {
    expect(await fault({ AWS_REGION })).toMatch(/^No AWS Region is set\. Name it with --region, [^\n]*\n$/);
  });

  test.each(["eu central-1", " eu-central-1"])("a Region that is none: '%s'", async (AWS_REGION) => {
    const said = "is not the name of one. Name it with --region, or correct AWS_REGION or the profile's region.\n";
    expect(await fault({ AWS_REGION })).toBe(`"${AWS_REGION}" ${said}`);
    expect(await fault({ AWS_REGION }, "--redact")).toBe(`What is set as AWS Region ${said}`);
  });

  test("no credentials", async () => {
    expect(await fault(NO_KEYS)).toMatch(/^There are no AWS credentials\. Sign in .*\n.*CredentialsProviderError/);
  });

  test("a profile that is not there", async () => {
    const said = await fault({ ...NO_KEYS, AWS_PROFILE: "gone" });
    expect(said).toMatch(/^There are no AWS credentials\. .* AWS_PROFILE\.\n/);
  });

  test("a login by aws sso login that has expired", async () => {
    const session =
      "[sso-session corp]\nsso_region = eu-central-1\nsso_start_url = https://corp.awsapps.example/start\n";
    const profile = "[profile corp]\nsso_session = corp\nsso_account_id = 111122223333\nsso_role_name = reader\n";
    const variables = { ...NO_KEYS, ...awsFiles(session + profile), AWS_PROFILE: "corp" };
    expect(await fault(variables)).toMatch(/^Your AWS login has expired\. Sign in again: aws sso login/);
    expect(await fault(variables, "--redact")).not.toMatch(/corp|1111/);
  });

  test("a login by aws login that has expired", async () => {
    const files = awsFiles("[profile corp]\nlogin_session = arn:aws:iam::111122223333:user/alice\n");
    const variables = { ...NO_KEYS, ...files, AWS_PROFILE: "corp" };
    expect(await fault(variables)).toMatch(
      /^Your AWS login has expired\. Sign in again: aws login, with your profile\.\n/,
    );
    expect(await fault(variables, "--redact")).not.toMatch(/corp|alice|1111/);
  });

  test("a profile that asks for MFA", async () => {
    const role = "role_arn = arn:aws:iam::111122223333:role/reader\nsource_profile = own\n";
    const config = `[profile corp]\n${role}mfa_serial = arn:aws:iam::111122223333:mfa/alice\n`;
    const files = awsFiles(config, "[own]\naws_access_key_id = A\naws_secret_access_key = B\n");
    const variables = { ...NO_KEYS, ...files, AWS_PROFILE: "corp" };
    const said = await fault(variables);
    expect(said).toMatch(/^Your profile asks for MFA, /);
    expect(said).toContain('eval "$(aws configure export-credentials --format env)"; unset AWS_PROFILE\n');
    expect(await fault(variables, "--redact")).not.toMatch(/corp|alice|1111/);
  });

  test("credentials that have expired", async () => {
    ec2.fail("DescribeClientVpnEndpoints", { status: 400, code: "RequestExpired", message: "Request has expired." }, 9);
    expect(await fault()).toMatch(/^Your AWS login has expired\. Sign in again, .*\n.*RequestExpired/);
    ec2.reset();
    ec2.fail("DescribeClientVpnEndpoints", { status: 400, code: "ExpiredToken", message: "It has expired" });
    expect(await fault()).toMatch(/^Your AWS login has expired\. Sign in again, .*\n.*ExpiredToken: It has expired/);
  });

  test("credentials that AWS does not accept", async () => {
    expect(await fault({ AWS_SECRET_ACCESS_KEY: "wrong" })).toMatch(
      /^AWS does not accept your credentials in eu-central-1\. .*\n.*AuthFailure/,
    );
  });

  test("no such endpoint in the Region", async () => {
    ec2.endpointId = "cvpn-endpoint-0a0a0a0a0a0a0a0a0";
    const said = "in eu-west-1. Check the id, the Region (--region) and the account.\n";
    expect(await fault({}, "--region", "eu-west-1")).toBe(`There is no endpoint ${ENDPOINT_ID} ${said}`);
    expect(await fault({}, "--region", "eu-west-1", "--redact")).toBe(`There is no endpoint endpoint 1 ${said}`);
  });

  test.each(["DescribeClientVpnEndpoints", "DescribeClientVpnConnections"] as const)(
    "a right that is missing: %s",
    async (action) => {
      const message = "You are not authorized. User: arn:aws:iam::111122223333:user/alice\x1b[2J";
      ec2.fail(action, { ...REFUSED, message }, 9);
      const said = await fault();
      expect(said).toMatch(new RegExp(`^Your credentials lack the right ec2:${action} on (\\*|the endpoint)\\. `));
      expect(said).toContain("user/alice\\u{1b}[2J");
      const redacted = await fault({}, "--redact");
      expect(redacted).toContain(`ec2:${action}`);
      expect(redacted).not.toMatch(/1111|alice|arn:|0f13/);
    },
  );

  test("EC2 cannot be reached", async () => {
    const unreachable = { AWS_ENDPOINT_URL_EC2: "http://127.0.0.1:1", AWS_MAX_ATTEMPTS: "1" };
    expect(await fault(unreachable)).toMatch(/^EC2 in eu-central-1 cannot be reached\. .*\n.*ECONNREFUSED/);
  });

  test.each(["HTTPS_PROXY", "https_proxy"])("a proxy is set, and EC2 cannot be reached: %s", async (name) => {
    const asked: string[] = [];
    const proxy = createServer().on("connect", ({ url = "" }, socket) => {
      asked.push(url);
      socket.end("HTTP/1.1 502 Bad Gateway\r\n\r\n");
    });
    await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
    onTestFinished(() => void proxy.close());
    const address = `http://alice:secret@127.0.0.1:${Object(proxy.address()).port}`;
    const variables = { AWS_ENDPOINT_URL_EC2: "https://127.0.0.1:1", AWS_MAX_ATTEMPTS: "1", [name]: address };
    const said = await fault(variables);
    expect(said).not.toMatch(/alice|secret/);
    expect(said).toMatch(/^EC2 in eu-central-1 cannot be reached\. The proxy in HTTPS_PROXY was /);
    // Node.js 24 can do it, 20 cannot, and 22 has learned it.
    const isUsed = said.includes("was used");
    expect(asked).toStrictEqual(isUsed ? ["127.0.0.1:1"] : []);
    const [major = 0] = process.versions.node.split(".").map(Number);
    if (major !== 22) expect(isUsed).toBe(major > 22);
    if (!isUsed) expect(said).toContain("was not used: Node.js v");
  });

  test("a proxy's address that is none", async () => {
    const variables = { AWS_ENDPOINT_URL_EC2: "https://127.0.0.1:1", AWS_MAX_ATTEMPTS: "1" };
    const said = await fault({ ...variables, HTTPS_PROXY: "http://alice:se/cret@127.0.0.1:1" });
    expect(said).not.toMatch(/alice|cret/);
    // As above: who cannot use it does not read it.
    if (!said.includes("was not used: Node.js v"))
      expect(said).toMatch(/^HTTPS_PROXY is not the address of a proxy, .*\n$/);
  });

  test.each(["alice:secret", "alice", ":secret", "alice:se@cret", "alice@corp.example:secret"])(
    "an answer with what a proxy is to know: %s is left out",
    async (known) => {
      const message = `no way to EC2 via http://${known}@proxy.example:3128`;
      ec2.fail("DescribeClientVpnEndpoints", { ...REFUSED, message }, 9);
      expect(await fault()).toContain("no way to EC2 via http://proxy.example:3128\n");
    },
  );

  test("a certificate of an authority that Node.js does not know", async () => {
    const inspecting = await new LoopbackEc2(selfSigned()).start();
    onTestFinished(() => inspecting.close());
    const said = await fault({ AWS_ENDPOINT_URL_EC2: inspecting.url, AWS_MAX_ATTEMPTS: "1" });
    expect(said).toMatch(/^Node\.js does not know who signed the certificate .*\n.*DEPTH_ZERO_SELF_SIGNED_CERT/);
    for (const word of ["NODE_EXTRA_CA_CERTS", "CloudShell"]) expect(said).toContain(word);
  });

  test("EC2 throttles for too long", async () => {
    ec2.fail("DescribeClientVpnConnections", THROTTLED, 9);
    expect(await fault()).toMatch(/^EC2 throttles DescribeClientVpnConnections in this account\. .*\n/);
  });

  test.each(["web-page", "empty", "other-document", "same-token"] as const)(
    "an answer that is not EC2's: %s",
    async (odd) => {
      ec2.addConnection();
      ec2.fail("DescribeClientVpnConnections", odd, 9);
      expect(await fault()).toMatch(/^EC2 did not answer DescribeClientVpnConnections as it should\. /);
    },
  );
});

// What the SDK and Node.js throw only rarely, or after a long time.
test.each([
  ["ThrottlingException", "Rate exceeded", /^EC2 throttles DescribeClientVpnEndpoints in this account\./],
  ["AccessDenied", "no", /^Your credentials lack the right ec2:DescribeClientVpnEndpoints on \*\./],
  ["AccessDeniedException", "no", /^Your credentials lack the right/],
  ["UNABLE_TO_VERIFY_LEAF_SIGNATURE", "unable to verify the first certificate", /^Node\.js does not know who signed/],
  ["UNABLE_TO_GET_ISSUER_CERT_LOCALLY", "unable to get local issuer certificate", /^Node\.js does not know who signed/],
  ["TimeoutError", "no answer", /^EC2 in eu-central-1 cannot be reached\./],
  ["ENOTFOUND", "getaddrinfo ENOTFOUND", /^EC2 in eu-central-1 cannot be reached\./],
  ["InvalidClientTokenId", "no", /^AWS does not accept your credentials in eu-central-1\./],
  ["SignatureDoesNotMatch", "no", /^AWS does not accept your credentials in eu-central-1\./],
  ["TokenProviderError", "SSO Token refresh failed", /^Your AWS login has expired\. Sign in again: aws sso login/],
  ["InternalError", "x".repeat(999), /^EC2 did not answer DescribeClientVpnEndpoints as it should\./],
])("says what to do about %s, and what was said", (code, message, says) => {
  const asked = {
    action: "DescribeClientVpnEndpoints",
    endpointId: ENDPOINT_ID,
    region: "eu-central-1",
    redact: false,
  };
  const [advice, answer, ...more] = faultOf(Object.assign(new Error(message), { name: code }), asked).split("\n");
  expect(advice).toMatch(says);
  expect(answer).toBe(`The answer was ${`${code}: ${message}`.slice(0, 300)}`);
  expect(more).toStrictEqual([]);
});

test("a throttled, a broken and a silent call are tried again", async () => {
  for (let i = 0; i < 2; i++) ec2.addConnection();
  ec2.fail("DescribeClientVpnEndpoints", THROTTLED);
  ec2.fail("DescribeClientVpnEndpoints", "reset");
  ec2.fail("DescribeClientVpnConnections", "hang");
  const { stdout, stderr } = await preview([ENDPOINT_ID]);
  expect(stderr).toBe("");
  expect(stdout).toContain("1 connection would be ended");
  expect(ec2.requests.map(({ action }) => action)).toStrictEqual([
    ...Array(3).fill("DescribeClientVpnEndpoints"),
    ...Array(2).fill("DescribeClientVpnConnections"),
  ]);
});
