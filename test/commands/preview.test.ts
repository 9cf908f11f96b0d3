import { afterEach, describe, expect, onTestFinished, test, vi } from "vitest";
import type { Connection } from "../ec2/connection.ts";
import { type Endpoint, USUAL_ENDPOINT } from "../ec2/endpoint.ts";
import { ENDPOINT_ID } from "../ec2/server.ts";
import { builtForTest, statuses, useEc2 } from "../helpers/built.ts";
import { usePreview } from "../helpers/preview.ts";

const ec2 = useEc2();
const preview = usePreview(() => ec2.env);
const HANDLER_ARN = "arn:aws:lambda:eu-central-1:111122223333:function:AWSClientVPN-of-others";

// Whatever a test does, the preview reads, and nobody is disconnected.
let hasSwept = false;
afterEach(() => {
  const others = ec2.requests.filter(({ action }) => !action.startsWith("Describe"));
  if (!hasSwept) expect(others).toStrictEqual([]);
  hasSwept = false;
});

/** Adds a connection a minute younger than the one before it; an undefined name is left out of its row. */
function connect(username: string | undefined, connection: Partial<Connection> = {}): Connection {
  const establishedAt = new Date(Date.UTC(2026, 8, 1, 8, ec2.connections.length));
  const connectionId = `cvpn-connection-${(ec2.connections.length + 1).toString(16).padStart(17, "0")}`;
  const filterUsername = username ?? "alice";
  return ec2.addConnection({ connectionId, username, filterUsername, establishedAt, ...connection });
}

function connectAll(...names: string[]): string[] {
  return names.map((name) => connect(name).connectionId);
}

/** Runs the preview, which has to succeed, and returns what it printed. */
async function shown(...args: string[]): Promise<string> {
  const { status, stdout, stderr } = await preview([ENDPOINT_ID, ...args]);
  expect([status, stderr]).toStrictEqual([0, ""]);
  return stdout;
}

async function report(...args: string[]) {
  return JSON.parse(await shown("--json", ...args));
}

/** Returns the texts of one level's notes. */
async function notes(level: "problem" | "advice", ...args: string[]): Promise<string[]> {
  const { notes } = await report(...args);
  return notes.flatMap((note: { level: string; text: string }) => (note.level === level ? note.text : []));
}

describe.each(["source", "built"] as const)("the preview, %s,", (from) => {
  test("shows people the endpoint, the names, who is over the limit, what to do and the parameters", async () => {
    ec2.endpoint = {
      status: "available",
      authentication: ["directory-service-authentication", "certificate-authentication"],
      handler: { arn: HANDLER_ARN, status: "applied" },
      sessionTimeoutHours: 8,
      disconnectOnSessionTimeout: false,
    };
    connectAll("alice", "alice", "bob", "alice", "alice", "ALICE", "carol", "bob");
    connect("bob", { status: "terminated", endedAt: new Date() });
    const { status, stdout, stderr } = await preview([ENDPOINT_ID], {}, { from });
    expect([status, stderr]).toStrictEqual([0, ""]);
    expect(stdout).toBe(`cvpn-endpoint-0f13eab7f860433cc in eu-central-1
  status              available
  users sign in with  Active Directory and certificates
  handler             ${HANDLER_ARN} (applied)
  connection log      off
  session time-out    8 hours, then connected again by the client

Names: 8 active connections, 8 with a user name, 8 with a common name, 0 with a kept name; the user name is compared

Spellings that may be one person
  alice, ALICE

Over the limit of 1: 2 users; 4 connections would be ended
  USER   CONNECTIONS  WOULD BE ENDED, THE NEWEST FIRST
  alice            4  cvpn-connection-00000000000000004, cvpn-connection-00000000000000002 and 1 more
  bob              2  cvpn-connection-00000000000000003

What to do
  problem  A client connect handler is set (applied). If it is not this stack's, turning this one on replaces it: leave
           out TurnOn, and let the sweep enforce alone.
  advice   With DryRun=false, the first sweep ends these 4 connections. With DryRun=true, it only logs them.
  advice   Each spelling gets around the rule. Let each person have one name; for letter case, try --ignore-case.
  advice   The connection log is off. Turn it on: it tells why a login failed.

Parameters for the stack, as a dry run, in eu-central-1
EndpointId=cvpn-endpoint-0f13eab7f860433cc Identity=username IgnoreUsernameCase=false KeepNames=false \
MaxConnectionsPerUser=1 ExemptUsers= OnFailure=deny ConnectionLogGroup= DryRun=true
`);
  });

  test("gives the same as one JSON document", async () => {
    ec2.endpoint = { ...ec2.endpoint, handler: { arn: HANDLER_ARN, status: "applying" }, connectionLog: "/vpn" };
    const [, first, second] = connectAll("bob", "alice", "alice", "alice", "ALICE");
    connect(undefined, { commonName: undefined });
    // From source, the process has been tested with the text.
    const { status, stdout, stderr } = await preview([ENDPOINT_ID, "--json"], {}, from === "built" ? { from } : {});
    expect([status, stderr]).toStrictEqual([0, ""]);
    expect(JSON.parse(stdout)).toStrictEqual({
      endpoint: {
        id: ENDPOINT_ID,
        status: "available",
        authentication: ["directory-service-authentication"],
        handler: { arn: HANDLER_ARN, status: "applying" },
        connectionLog: "/vpn",
        sessionTimeoutHours: 24,
        disconnectOnSessionTimeout: true,
        trustProviders: [],
      },
      connections: { active: 6, withUsername: 5, withCommonName: 5, withKeptName: 0, named: 5, withOtherStatuses: 0 },
      spellings: [["alice", "ALICE"]],
      users: [{ name: "alice", connections: 3, wouldEnd: [second, first] }],
      parameters: {
        EndpointId: ENDPOINT_ID,
        Identity: "username",
        IgnoreUsernameCase: "false",
        KeepNames: "true",
        MaxConnectionsPerUser: "1",
        ExemptUsers: "",
        OnFailure: "deny",
        ConnectionLogGroup: "/vpn",
        DryRun: "true",
      },
      notes: [
        { level: "problem", text: expect.stringContaining("is set (applying)") },
        { level: "problem", text: expect.stringContaining("1 of 6 active connections without a user name") },
        { level: "advice", text: expect.stringContaining("KeepNames=true") },
        { level: "advice", text: expect.stringContaining("ends these 2 connections") },
        { level: "advice", text: expect.stringContaining("try --ignore-case") },
      ],
    });
  });

  test("has help", async () => {
    const { status, stdout, stderr } = await preview(["--help"], {}, { from });
    expect([status, stderr]).toStrictEqual([0, ""]);
    const command = from === "source" ? "npm run preview --" : "node preview.mjs";
    expect(stdout).toContain(`usage: ${command} ENDPOINT_ID`);
    expect(stdout).toContain(`\n  ${command} cvpn-endpoint-0123456789abcdef0 --region`);
    for (const option of ["region R", "max N", "identity I", "ignore-case", "exempt A,B", "json", "redact", "help"]) {
      expect(stdout).toMatch(new RegExp(`^  --${option}  `, "m"));
    }
  });

  test("calls nobody when it is used in a wrong way, and says how it is used", async () => {
    const { status, stdout, stderr } = await preview([ENDPOINT_ID, "--bogus"], {}, { from });
    const command = from === "source" ? "npm run preview --" : "node preview.mjs";
    const usage = `usage: ${command} ENDPOINT_ID [options]; --help lists them`;
    expect([status, stdout, stderr]).toStrictEqual([2, "", `Unknown option '--bogus'\n${usage}\n`]);
    expect(ec2.requests).toStrictEqual([]);
  });
});

test("-h is --help", async () => {
  expect(await preview(["-h"])).toStrictEqual(await preview(["--help"]));
});

test.each<[args: string, says: string]>([
  ["", "ENDPOINT_ID is missing"],
  ["vpn", 'ENDPOINT_ID: expected an id such as cvpn-endpoint-0123456789abcdef0, got "vpn"'],
  [`${ENDPOINT_ID}0`, `ENDPOINT_ID: expected an id such as cvpn-endpoint-0123456789abcdef0, got "${ENDPOINT_ID}0"`],
  ["cvpn-endpoint-0", 'ENDPOINT_ID: expected an id such as cvpn-endpoint-0123456789abcdef0, got "cvpn-endpoint-0"'],
  [`${ENDPOINT_ID} ${ENDPOINT_ID}`, "expected one ENDPOINT_ID, got 2"],
  [`${ENDPOINT_ID} --bogus`, "Unknown option '--bogus'"],
  [`${ENDPOINT_ID} --json=yes`, "Option '--json' does not take an argument"],
  [`${ENDPOINT_ID} --max`, "Option '--max <value>' argument missing"],
  [`${ENDPOINT_ID} --max 0`, '--max: expected an integer from 1, got "0"'],
  [`${ENDPOINT_ID} --max 1.5`, '--max: expected an integer from 1, got "1.5"'],
  [`${ENDPOINT_ID} --region Frankfurt`, '--region: expected a Region such as eu-central-1, got "Frankfurt"'],
  [`${ENDPOINT_ID} --identity email`, '--identity: expected username or common-name, got "email"'],
  [`${ENDPOINT_ID} --exempt a,,b`, '--exempt: expected names between commas, got "a,,b"'],
  [`${ENDPOINT_ID} --exempt a,,b --redact`, "--exempt: expected names between commas"],
  [`${ENDPOINT_ID} --alice --redact`, "Unknown option"],
  [`--redact --exmpt=alice ${ENDPOINT_ID}`, "Unknown option"],
])("calls nobody when it is used in a wrong way: %s", async (args, says) => {
  const { status, stdout, stderr } = await preview(args.split(" ").filter(Boolean));
  const usage = "usage: node preview.mjs ENDPOINT_ID [options]; --help lists them";
  expect([status, stdout]).toStrictEqual([2, ""]);
  expect(stderr.split("\n")).toStrictEqual([says, usage, ""]);
  expect(ec2.requests).toStrictEqual([]);
});

describe("who a connection belongs to", () => {
  test.each([
    [["certificate-authentication"], "common-name"],
    [["directory-service-authentication"], "username"],
    [["federated-authentication"], "username"],
    [["certificate-authentication", "directory-service-authentication"], "username"],
    [["federated-authentication", "certificate-authentication"], "username"],
    [[], "username"],
  ] as const)("is what the endpoint suggests: %j, %s", async (authentication, identity) => {
    ec2.endpoint = { ...ec2.endpoint, authentication: [...authentication] };
    for (const name of ["one", "two"]) connect(name, { commonName: "shared" });
    for (const commonName of ["three", "four"]) connect("shared", { commonName });
    const { parameters, users } = await report();
    expect(parameters.Identity).toBe(identity);
    const first = identity === "username" ? 3 : 1;
    expect(users).toMatchObject([{ name: "shared", wouldEnd: [ec2.connections[first - 1]?.connectionId] }]);
  });

  test("is what --identity says", async () => {
    for (const commonName of ["a", "a"]) connect("", { commonName });
    const { parameters, users } = await report("--identity", "common-name");
    expect([parameters.Identity, users[0].name]).toStrictEqual(["common-name", "a"]);
  });

  test("does not know letter case with --ignore-case", async () => {
    const [first] = connectAll("Alice", "ALICE", "bob");
    expect((await report()).users).toStrictEqual([]);
    const { parameters, users, spellings } = await report("--ignore-case");
    expect(parameters.IgnoreUsernameCase).toBe("true");
    expect(users).toStrictEqual([{ name: "alice", connections: 2, wouldEnd: [first] }]);
    expect(spellings).toStrictEqual([]);
  });

  test("is nobody where EC2 writes a word for none", async () => {
    connectAll("-", "-", "N/A", "N/A", "alice");
    const { users, connections } = await report();
    expect(users).toStrictEqual([]);
    expect(connections).toMatchObject({ active: 5, withUsername: 1, withCommonName: 1, named: 1 });
  });
});

describe("names that are kept with connections", () => {
  const kept = (name: string, listed?: string) =>
    connect(listed, { commonName: undefined, postureComplianceStatuses: [`vpn-session-handler.username.${name}`] });
  const unnamed = (...statuses: string[]) =>
    connect(undefined, { commonName: undefined, postureComplianceStatuses: statuses });
  const SAML: Endpoint = { ...USUAL_ENDPOINT, authentication: ["federated-authentication"] };

  test("are whose a connection is, before what EC2 lists, and are counted", async () => {
    ec2.endpoint = SAML;
    const [first] = [kept("alice%40corp.example"), kept("alice%40corp.example", "CORP\\alice"), kept("bob")];
    connectAll("carol");
    const { connections, users, parameters, notes: all } = await report();
    expect(connections).toMatchObject({ active: 4, withUsername: 2, withKeptName: 3, named: 4, withOtherStatuses: 0 });
    expect(users).toStrictEqual([{ name: "alice@corp.example", connections: 2, wouldEnd: [first.connectionId] }]);
    expect(parameters.KeepNames).toBe("true");
    expect(all.map(({ text }: { text: string }) => text).join()).not.toMatch(/KeepNames|without a user name/);
  });

  test.each<[Endpoint["authentication"][number], number]>([
    ["federated-authentication", 0],
    ["federated-authentication", 2],
    ["directory-service-authentication", 1],
  ])("are advised where users sign in by %s and EC2 lists names for %d of more", async (type, named) => {
    ec2.endpoint = { ...SAML, authentication: [type], sessionTimeoutHours: 12 };
    connectAll(...["alice", "bob"].slice(0, named));
    unnamed();
    const [advice = "", ...others] = (await notes("advice")).filter((text) => text.includes("KeepNames"));
    expect(others).toStrictEqual([]);
    expect(advice).toMatch(/needs the handler on the endpoint.*begin after both are on.*\(12 hours here\)/);
    expect((await report()).parameters.KeepNames).toBe("true");
  });

  test("are not asked for where all have names, where nobody is connected, and where there are no names to keep", async () => {
    expect((await report()).parameters.KeepNames).toBe("false");
    connectAll("alice", "bob");
    expect((await report()).parameters.KeepNames).toBe("false");
    ec2.endpoint = { ...SAML, authentication: ["certificate-authentication"] };
    unnamed();
    expect((await report("--identity", "username")).parameters.KeepNames).toBe("false");
    expect((await report()).parameters).toMatchObject({ Identity: "common-name", KeepNames: "true" });
  });

  test("hold against DryRun=false while a connection has none, where some have", async () => {
    ec2.endpoint = SAML;
    unnamed();
    connectAll("bob");
    expect((await notes("problem")).join()).not.toContain("leave DryRun=true");
    kept("alice");
    expect(await notes("problem")).toStrictEqual([
      expect.stringMatching(/1 of 3 active connections without a user name.*leave DryRun=true until there are none/),
    ]);
  });

  test("of the other kind are none, and neither are statuses that contradict each other", async () => {
    ec2.endpoint = SAML;
    unnamed("vpn-session-handler.common-name.alice");
    unnamed("vpn-session-handler.username.alice", "vpn-session-handler.username.bob");
    expect((await report()).connections).toMatchObject({ withKeptName: 0, named: 0 });
  });

  test("have statuses of another check beside them, which can stay", async () => {
    unnamed("vpn-session-handler.username.alice", "compliant");
    unnamed("unknown");
    connectAll("bob");
    expect((await report()).connections.withOtherStatuses).toBe(2);
    expect((await notes("advice")).join()).toMatch(
      /2 of 3 active connections have statuses of another check\. It can stay/,
    );
  });

  test.each<[what: string, args: string[], isUnnamed: boolean, isWarned: boolean]>([
    ["KeepNames", [], true, true],
    ["common names", ["--identity", "common-name"], false, true],
    ["letter case", ["--ignore-case"], false, true],
    ["none of them", [], false, false],
  ])("have each login read all rows, which is said above 1,000 of them: %s", async (_, args, isUnnamed, isWarned) => {
    for (let i = 0; i < 1_000; i++) connect(`user-${i}`);
    if (isUnnamed) unnamed();
    else connect("user-1000");
    expect(/reads all 1,001 connections/.test((await notes("advice", ...args)).join())).toBe(isWarned);
  });

  test("appear with --redact as numbers alone", async () => {
    ec2.endpoint = { ...SAML, connectionLog: "/vpn/secret" };
    kept("alice");
    kept("alice");
    const text = await shown("--redact");
    expect(text).not.toMatch(/alice|secret/);
    expect(text).toContain("ConnectionLogGroup='log group 1'");
  });
});

test("--max lets the newest stay", async () => {
  const [first] = connectAll("alice", "alice", "alice", "bob", "bob");
  const { parameters, users } = await report("--max", "2");
  expect(parameters.MaxConnectionsPerUser).toBe("2");
  expect(users).toStrictEqual([{ name: "alice", connections: 3, wouldEnd: [first] }]);
});

test("who has most to end comes first", async () => {
  connectAll("alice", "alice", "bob", "bob", "bob", "carol", "carol");
  const { users } = await report();
  expect(users.map(({ name }: { name: string }) => name)).toStrictEqual(["bob", "alice", "carol"]);
});

test("the parameters can be pasted into a shell, whatever a name has", async () => {
  expect(await shown("--exempt", "o'neil $(id)")).toContain(" ExemptUsers='o'\\''neil $(id)' ");
});

test("--exempt leaves users alone", async () => {
  connectAll("kiosk", "kiosk", "back up", "back up");
  const [first] = connectAll("alice", "alice");
  const { parameters, users } = await report("--exempt", "kiosk, back up");
  expect(parameters.ExemptUsers).toBe("kiosk,back up");
  expect(users).toStrictEqual([{ name: "alice", connections: 2, wouldEnd: [first] }]);
  expect(await shown("--exempt", "kiosk, back up")).toContain(" ExemptUsers='kiosk,back up' ");
});

test("the settings of the shell do not count", async () => {
  connectAll("alice", "alice");
  const settings = {
    MAX_CONNECTIONS_PER_USER: "5",
    IDENTITY: "common-name",
    IGNORE_USERNAME_CASE: "true",
    EXEMPT_USERS: "alice",
    ON_FAILURE: "allow",
    DRY_RUN: "maybe",
  };
  const usual = await preview([ENDPOINT_ID]);
  expect(await preview([ENDPOINT_ID], settings)).toStrictEqual(usual);
  expect(usual.stdout).toContain("1 connection would be ended");
});

test("a sweep ends what the preview said it would, and nothing else", async () => {
  connectAll(
    "alice",
    "bob",
    "alice",
    "carol",
    "ALICE",
    "bob",
    "alice",
    "dave",
    "kiosk",
    "kiosk",
    "kiosk",
    "carol",
    "-",
  );
  connect("alice", { establishedAt: "-" });
  connect("dave", { status: "failed-to-terminate" });
  connect("dave", { status: "odd" });
  const { users } = await report("--max", "2", "--ignore-case", "--exempt", "kiosk");
  const env = { MAX_CONNECTIONS_PER_USER: "2", IGNORE_USERNAME_CASE: "true", EXEMPT_USERS: "kiosk" };
  const lambda = await builtForTest({ ...ec2.env, ...env });
  hasSwept = true;
  const { response } = await lambda.sweep({ sweep: ENDPOINT_ID });
  const announced = users.flatMap(({ wouldEnd }: { wouldEnd: string[] }) => wouldEnd);
  expect(announced).toHaveLength(2);
  expect(response.terminated.toSorted()).toStrictEqual(announced.toSorted());
});

describe("spellings that may be one person", () => {
  test("are those that differ in letter case, domain before and domain behind", async () => {
    connectAll("alice", "CORP\\Alice", "alice@corp.example", "bob", "bob", "@", "\\", "-");
    connect("BOB", { status: "terminated", endedAt: new Date() });
    const { spellings, notes } = await report();
    expect(spellings).toStrictEqual([
      ["alice", "alice@corp.example", "CORP\\Alice"],
      ["bob", "BOB"],
    ]);
    expect(notes.map(({ text }: { text: string }) => text).join()).toContain("try --ignore-case");
  });

  test("are shown up to six, and shortened where they are long", async () => {
    const long = `alice@${"x".repeat(40)}`;
    connectAll(...["Alice", "aLice", "alIce", "aliCe", "alicE"], long, long, "alice@a", "alice@b");
    const text = await shown();
    expect(text).toMatch(/\n {2}(\S+, ){5}\S+ and 2 more\n/);
    expect(text).toContain(`\n  ${long.slice(0, 29)}...  `);
    expect(text).not.toContain(long);
  });

  test("are not said to be helped by --ignore-case where it does not help", async () => {
    connectAll("alice", "alice@corp.example");
    const advice = (await notes("advice")).join();
    expect(advice).toContain("Let each person have one name.");
    expect(advice).not.toContain("--ignore-case");
  });
});

test("sorts and counts the same wherever it runs", async () => {
  // A machine that is set to Czech sorts ch behind h, and writes 1 209.
  const ownLocale = (locales?: Intl.LocalesArgument) => locales ?? "cs";
  const compare = String.prototype.localeCompare;
  const write = Number.prototype.toLocaleString;
  vi.spyOn(String.prototype, "localeCompare").mockImplementation(function (this: string, that, locales, options) {
    return compare.call(this, that, ownLocale(locales), options);
  });
  vi.spyOn(Number.prototype, "toLocaleString").mockImplementation(function (this: number, locales, options) {
    return write.call(this, ownLocale(locales), options);
  });
  onTestFinished(() => void vi.restoreAllMocks());
  expect("charles".localeCompare("hugo")).toBeGreaterThan(0);
  connectAll("ivan", "IVAN", "charles", "charles", "Charles", "hugo", "hugo", "dave", "dave");
  for (let i = 0; i < 1_200; i++) connect(`user-${i}`);
  const { users, spellings } = await report();
  expect(users.map(({ name }: { name: string }) => name)).toStrictEqual(["charles", "dave", "hugo"]);
  expect(spellings).toStrictEqual([
    ["charles", "Charles"],
    ["ivan", "IVAN"],
  ]);
  expect(await shown()).toContain("1,209 active connections");
});

test("stays on a screen with many users, many spellings and much to say", async () => {
  ec2.endpoint = { ...ec2.endpoint, handler: { arn: HANDLER_ARN, status: "applied" } };
  for (let i = 0; i < 23; i++) connectAll(`user-${i}`, `user-${i}`, `User-${i}`);
  const text = await shown();
  expect(text.match(/^ {2}user-\d+ +2 {2}cvpn-/gm)).toHaveLength(20);
  expect(text).toContain("1: 23 users (here the first 20; 3 more with --json); 23 connections would be ended\n");
  expect(text.match(/^ {2}user-\d+, User-\d+$/gm)).toHaveLength(3);
  expect(text).toContain("one person (here the first 3; 20 more with --json)\n");
  expect(text.trimEnd().split("\n").length).toBeLessThanOrEqual(46);
  expect((await report()).users).toHaveLength(23);
});

test("breaks what there is to do at 120 columns, and no earlier", async () => {
  const widths = new Set<number>();
  for (let length = 1; length <= 40; length++) {
    ec2.endpoint = { ...ec2.endpoint, trustProviders: ["x".repeat(length)] };
    const lines = (await shown()).split("What to do\n")[1]?.split("\n\n")[0]?.split("\n") ?? [];
    for (const line of lines) widths.add(line.length);
  }
  expect(Math.max(...widths)).toBe(120);
});

test("reads 2,300 rows in three pages, and tells a terminal how far it is", async () => {
  for (let i = 0; i < 2_300; i++) connect(`user ${i % 2_299}`);
  const { stdout, stderr } = await preview([ENDPOINT_ID], {}, { isTerminal: true });
  expect(stdout).toContain("2,300 active connections");
  expect(stdout).toContain("1 connection would be ended");
  expect(stderr).toBe("\r\x1b[Kreading connections: 1,000\r\x1b[Kreading connections: 2,000\r\x1b[K");
  const pages = ec2.requests.map(({ action, params }) => [action, params.get("MaxResults")]);
  const page = ["DescribeClientVpnConnections", "1000"];
  expect(pages).toStrictEqual([["DescribeClientVpnEndpoints", null], page, page, page]);
  const quiet = await preview([ENDPOINT_ID]);
  expect(quiet.stderr).toBe("");
});

describe("on a terminal", () => {
  test("there is colour, unless NO_COLOR is set", async () => {
    const colored = await preview([ENDPOINT_ID], {}, { isTerminal: true });
    expect(colored.stderr).toBe("");
    expect(colored.stdout).toContain("\x1b[1mNames\x1b[22m: ");
    expect(colored.stdout).toContain("\x1b[31m  problem  \x1b[39mNobody is connected");
    const plain = await preview([ENDPOINT_ID], { NO_COLOR: "1" }, { isTerminal: true });
    expect(plain.stdout).toBe(await shown());
    expect(plain.stdout).not.toContain("\x1b");
    const built = await preview([ENDPOINT_ID], {}, { from: "built", isTerminal: true });
    expect(built.stdout).toBe(colored.stdout);
  });

  test("no name does what a terminal obeys", async () => {
    const names = ["\x1b[2Jalice", "bob\u202egnp", "carol\u009b31m", "dave\rroot", "erin\u2028", "x\x07\u{e0001}"];
    for (const name of names) connectAll(name, name);
    ec2.endpoint = { ...ec2.endpoint, connectionLog: "log\x1b[31m", handler: { arn: "a\u009bb", status: "\x1bc" } };
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
    const obeyed = /[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u{e0001}]/u;
    const text = await shown("--exempt", "kiosk\x07");
    expect(text).not.toMatch(obeyed);
    expect(text).toContain("\n  \\u{1b}[2Jalice ");
    const json = await shown("--json");
    expect(json).not.toMatch(obeyed);
    const { users } = JSON.parse(json);
    expect(users.map(({ name }: { name: string }) => name).toSorted()).toStrictEqual(names.toSorted());
  });
});

describe("what to do", () => {
  test("a handler that is set, where the sweep could enforce alone", async () => {
    ec2.endpoint = { ...ec2.endpoint, handler: { arn: HANDLER_ARN, status: "applying" } };
    const nobody = await notes("problem");
    expect(nobody[0]).toContain("let the sweep enforce alone");
    connectAll("alice");
    const [problem] = await notes("problem");
    expect(problem).toContain("A client connect handler is set (applying).");
    expect(problem).toContain("let the sweep enforce alone");
  });

  test.each([
    ["applying", [expect.stringContaining("is being turned off, which can take up to four hours")]],
    ["applied", []],
  ])(
    "a handler that was turned off, where that is %s, whether EC2 still has its ARN or not",
    async (status, expected) => {
      connectAll("alice");
      for (const arn of [HANDLER_ARN, ""]) {
        ec2.endpoint = { ...ec2.endpoint, handler: { arn, status, isOff: true } };
        expect(await notes("problem")).toStrictEqual(expected);
        expect(await shown()).toContain("\n  handler             none\n");
      }
    },
  );

  test("a connection log that was turned off, where EC2 still has its log group", async () => {
    ec2.endpoint = { ...ec2.endpoint, connectionLog: "/vpn", isConnectionLogOff: true };
    connectAll("alice");
    expect(await notes("advice")).toStrictEqual([expect.stringContaining("The connection log is off.")]);
    expect(await shown()).toContain("\n  connection log      off\n");
  });

  test("a handler that is set, where it could not", async () => {
    ec2.endpoint = { ...ec2.endpoint, handler: { arn: HANDLER_ARN, status: "applied" } };
    connect(undefined);
    const [problem] = await notes("problem");
    expect(problem).toContain("without names the sweep cannot enforce alone");
  });

  test.each([
    ["common-name", "let the sweep enforce alone"],
    ["username", "without names the sweep cannot enforce alone"],
  ])("a handler that is set, where rows have a common name alone, and it reads the %s", async (identity, says) => {
    ec2.endpoint = { ...ec2.endpoint, handler: { arn: HANDLER_ARN, status: "applied" } };
    connect(undefined, { commonName: "alice" });
    const [problem] = await notes("problem", "--identity", identity);
    expect(problem).toContain(says);
  });

  test.each(["directory-service-authentication", "federated-authentication"] as const)(
    "no user name in any row: two devices, one name: %s",
    async (type) => {
      ec2.endpoint = { ...ec2.endpoint, authentication: [type] };
      for (let i = 0; i < 3; i++) connect(undefined);
      const problems = await notes("problem");
      expect(problems).toStrictEqual([expect.stringContaining("connect from two devices with one name")]);
      expect(await shown()).toContain("\nOver the limit of 1: unknown\n");
    },
  );

  test("no user name in any row, where certificates are not alone", async () => {
    const authentication = ["certificate-authentication", "federated-authentication"] as const;
    ec2.endpoint = { ...ec2.endpoint, authentication: [...authentication] };
    connect(undefined);
    expect(await notes("problem")).toStrictEqual([expect.stringContaining("connect from two devices with one name")]);
    expect(await shown()).toContain("\n  users sign in with  certificates and SAML\n");
  });

  test("user names, where certificates alone have none", async () => {
    ec2.endpoint = { ...ec2.endpoint, authentication: ["certificate-authentication"] };
    connect("", { commonName: "alice" });
    expect(await notes("problem", "--identity", "username")).toStrictEqual([
      expect.stringContaining("Use --identity common-name"),
    ]);
    expect(await notes("problem")).toStrictEqual([]);
  });

  test("common names that are not there, or one for all", async () => {
    connect("alice", { commonName: undefined });
    expect(await notes("problem", "--identity", "common-name")).toStrictEqual([
      "EC2 lists no common name for any active connection, so there is nothing to compare.",
    ]);
    ec2.reset();
    for (const name of ["alice", "bob"]) connect(name, { commonName: "client.corp.example" });
    expect(await notes("problem", "--identity", "common-name")).toStrictEqual([
      expect.stringContaining("All active connections have the same common name"),
    ]);
  });

  test.each(["live", "42"])("a handler's ARN with an alias or a version: %s", async (qualifier) => {
    ec2.endpoint = { ...ec2.endpoint, handler: { arn: `${HANDLER_ARN}:${qualifier}`, status: "applied" } };
    connectAll("alice");
    const problem = expect.stringMatching(
      /ends with a version or an alias\. .* Set the ARN that ends with the function's/,
    );
    expect(await notes("problem")).toStrictEqual([expect.stringContaining("A client connect handler is set"), problem]);
    expect(await notes("problem", "--redact")).toContainEqual(problem);
  });

  test("no word of an alias where the ARN has none, or names $LATEST", async () => {
    connectAll("alice");
    for (const arn of [HANDLER_ARN, `${HANDLER_ARN}:$LATEST`]) {
      ec2.endpoint = { ...ec2.endpoint, handler: { arn, status: "applied" } };
      expect(await notes("problem")).toHaveLength(1);
    }
  });

  test("device posture, by which a login may be refused after the older session has ended", async () => {
    ec2.endpoint = { ...ec2.endpoint, connectionLog: "/vpn", trustProviders: ["jamf", "crowdstrike"] };
    connectAll("alice");
    const { endpoint, notes } = await report();
    expect(endpoint.trustProviders).toStrictEqual(["jamf", "crowdstrike"]);
    expect(notes).toStrictEqual([
      { level: "advice", text: expect.stringContaining("may refuse a login after the handler") },
    ]);
    expect(notes[0].text).toContain("Sweeps alone");
    expect(await shown()).toContain("\n  device posture      jamf and crowdstrike\n");
    expect(JSON.stringify(await report("--redact"))).toContain("jamf and crowdstrike");
  });

  test.each([
    [true, "24 hours, then disconnected\n"],
    [false, "24 hours, then connected again by the client\n"],
    [undefined, "24 hours\n"],
  ])("the end of a session: %s", async (disconnectOnSessionTimeout, says) => {
    ec2.endpoint = { ...ec2.endpoint, disconnectOnSessionTimeout };
    expect((await report()).endpoint.disconnectOnSessionTimeout).toBe(disconnectOnSessionTimeout ?? null);
    expect(await shown()).toContain(`\n  session time-out    ${says}`);
  });

  test.each(["pending", "deleting", "deleted"])("an endpoint that does not work: %s", async (status) => {
    ec2.endpoint = { ...ec2.endpoint, status };
    connectAll("alice");
    expect(await notes("problem")).toStrictEqual([`The endpoint is ${status}.`]);
  });

  test("nobody is connected, or nobody can be", async () => {
    ec2.endpoint = { ...ec2.endpoint, status: "pending-associate" };
    connect("alice", { status: "terminated", endedAt: new Date() });
    expect(await notes("problem")).toStrictEqual([
      "The endpoint is pending-associate. Associate a subnet with it: without one, it lets nobody in.",
      "Nobody is connected, so there is nothing to look at. Look again while users are connected.",
    ]);
    expect(await shown()).toContain("\nOver the limit of 1: nobody\n");
  });

  test("nothing but the connection log, where all is well", async () => {
    connectAll("alice", "bob");
    expect(await notes("problem")).toStrictEqual([]);
    expect(await notes("advice")).toStrictEqual([expect.stringContaining("The connection log is off.")]);
    ec2.endpoint = { ...ec2.endpoint, connectionLog: "/vpn" };
    expect(await shown()).not.toContain("What to do");
  });
});

describe("--redact", () => {
  test("lets nothing out that could name somebody, and gives each the same number throughout", async () => {
    ec2.endpoint = {
      status: "available",
      authentication: ["federated-authentication"],
      handler: { arn: HANDLER_ARN, status: "applied" },
      connectionLog: "/vpn/secret-log",
      sessionTimeoutHours: 24,
      disconnectOnSessionTimeout: true,
    };
    connectAll(
      "secret-alice",
      "secret-ALICE",
      "CORP\\secret-alice",
      "secret-bob",
      "secret-alice",
      "secret-bob",
      "kiosk",
    );
    connect(undefined, { commonName: "secret-device" });
    const args = ["--redact", "--exempt", "kiosk,secret-else"];
    const document = await report(...args);
    expect(document).toMatchObject({
      endpoint: { id: "endpoint 1", handler: { arn: "handler 1", status: "applied" }, connectionLog: "log group 1" },
      spellings: [["user 3", "user 1", "user 4"]],
      users: [
        { name: "user 1", connections: 2, wouldEnd: ["connection 1"] },
        { name: "user 2", connections: 2, wouldEnd: ["connection 2"] },
      ],
      parameters: { EndpointId: "endpoint 1", ExemptUsers: "user 5,user 6" },
    });
    expect(await report(...args)).toStrictEqual(document);
    for (const text of [JSON.stringify(document), await shown(...args)]) {
      expect(text).not.toMatch(/secret|alice|bob|corp|kiosk|arn:|1111|cvpn-|10\.0\.0/i);
      expect(text).toContain("user 1");
    }
  });

  test("gives a user one number in all spellings that are one user, also an exempt one", async () => {
    connectAll("Alice", "ALICE", "CORP\\alice", "kiosk", "CORP\\kiosk");
    const { spellings, users, parameters } = await report("--redact", "--ignore-case", "--exempt", "BOB, KIOSK,bob");
    expect(users[0].name).toBe("user 1");
    expect(spellings).toStrictEqual([
      ["user 1", "user 2"],
      ["user 3", "user 4"],
    ]);
    expect(parameters.ExemptUsers).toBe("user 5,user 4,user 5");
  });
});

test("nobody was disconnected by all of this", async () => {
  connectAll("alice", "alice");
  await shown();
  expect(statuses(ec2.connections)).toStrictEqual(["active", "active"]);
});
