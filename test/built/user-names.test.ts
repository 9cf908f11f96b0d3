import { beforeEach, describe, expect, test } from "vitest";
import { ENDPOINT_ID } from "../ec2/server.ts";
import { ALLOWED } from "../helpers/answers.ts";
import { statuses, useEc2, useSettings } from "../helpers/built.ts";
import { connectEvent } from "../helpers/events.ts";

const ec2 = useEc2();
const { lambda, askHandler, logInWith } = useSettings(ec2);

describe.each([true, false])("user names, where EC2's filter reads wildcards: %s", (wildcards) => {
  beforeEach(() => {
    ec2.wildcards = wildcards;
  });

  test.each([
    "CORP\\alice",
    "*",
    "a?ice",
    "\\",
    "\\*?",
    "alice@example.com",
    'Zoë O\'Brien & <Sons> "quoted"',
    " alice ",
    "007",
    "1e3",
    "true",
    "__proto__",
    "[a-z]+",
    "用户",
    "a=b&c%20d+e",
  ])("ends the connection of %j and nobody else's", async (username) => {
    const own = ec2.addConnection({ username });
    const strangers = ["alice", "bob", "CORPalice", "corp\\alice", "CORP\\\\alice", "Alice", "7"].map((name) =>
      ec2.addConnection({ username: name }),
    );
    expect((await askHandler(connectEvent({ username }))).response).toStrictEqual(ALLOWED);
    expect(own.status).toBe("terminated");
    expect(new Set(statuses(strangers))).toStrictEqual(new Set(["active"]));
  });
});

describe("EC2 is asked", () => {
  test.each([
    ["CORP\\alice", "CORP\\\\alice"],
    ["a?ice", "a\\?ice"],
    ["*", "\\*"],
    ["\\*?", "\\\\\\*\\?"],
  ])("for %s as it is, and escaped", async (username, escaped) => {
    await askHandler(connectEvent({ username }));
    expect(inputOf()).toStrictEqual({ ...INPUT, "Filter.1.Value.1": username, "Filter.1.Value.2": escaped });
  });

  test.each(["alice", "a.b+c@example.com", "Zoë O'Brien & <Sons>", "[a-z]"])(
    "for %s as it is alone",
    async (username) => {
      await askHandler(connectEvent({ username }));
      expect(inputOf()).toStrictEqual({ ...INPUT, "Filter.1.Value.1": username });
    },
  );

  const INPUT = {
    Action: "DescribeClientVpnConnections",
    Version: "2016-11-15",
    ClientVpnEndpointId: ENDPOINT_ID,
    MaxResults: "1000",
    "Filter.1.Name": "username",
  };

  function inputOf() {
    expect(ec2.requests).toHaveLength(1);
    return Object.fromEntries(ec2.requests[0]?.params ?? []);
  }
});

test("CORP\\alice is found where a row has no user name", async () => {
  const older = ec2.addConnection({ username: undefined, filterUsername: "CORP\\alice" });
  expect((await askHandler(connectEvent({ username: "CORP\\alice" }))).response).toStrictEqual(ALLOWED);
  expect(older.status).toBe("terminated");
});

test.each(["*", "a?ice"])("a user named %s never ends the connection of a row without user name", async (username) => {
  const stranger = ec2.addConnection({ username: undefined, filterUsername: "alice" });
  // Twice, as a warm process must not know anything of the time before.
  for (const _ of [1, 2]) {
    const { response, entry } = await askHandler(connectEvent({ username }));
    expect(response.allow).toBe(false);
    expect(stranger.status).toBe("active");
    expect(JSON.stringify(entry.errors)).toContain(`EC2 gave no username for ${stranger.connectionId}`);
  }
});

describe("where EC2 lists no user names, and finds nobody by them", () => {
  beforeEach(() => void ec2.hidden.add("username"));

  test("logins end nobody, and are allowed", async () => {
    const logins = [await logInWith({}), await logInWith({}), await logInWith({}, { username: "bob" })];
    expect(logins.map(({ entry }) => entry.reason)).toStrictEqual(Array(3).fill("no older connections"));
    expect(statuses(ec2.connections)).toStrictEqual(["active", "active", "active"]);
  });

  test("a sweep ends nobody, and says how many have no name", async () => {
    for (const _ of [1, 2]) await logInWith({});
    const { response } = await lambda().sweep({ sweep: ec2.endpointId });
    expect(response).toMatchObject({ active: 2, unnamed: 2, terminated: [] });
    expect(statuses(ec2.connections)).toStrictEqual(["active", "active"]);
  });
});

test("who logs in again and again, as EC2 lists it, is connected once", async () => {
  for (const _ of [1, 2, 3]) expect((await logInWith({})).response).toStrictEqual(ALLOWED);
  expect(statuses(ec2.connections)).toStrictEqual(["terminated", "terminated", "active"]);
});

describe.each(["-", "N/A", "NA"])("%j stands for no name", (placeholder) => {
  test("in a request: it is let in without a call, and ends nobody", async () => {
    const row = ec2.addConnection({ username: placeholder });
    const { response, entry } = await askHandler(connectEvent({ username: placeholder }));
    expect(response).toStrictEqual(ALLOWED);
    expect(entry.reason).toBe("no username to compare");
    expect(row.status).toBe("active");
    expect(ec2.requests).toHaveLength(0);
  });

  test("in a row that EC2's filter gives: the filter's word stands", async () => {
    const older = ec2.addConnection({ username: placeholder, filterUsername: "alice" });
    expect((await askHandler(connectEvent())).response).toStrictEqual(ALLOWED);
    expect(older.status).toBe("terminated");
  });

  test("in the rows of a sweep: they are unnamed, and stay", async () => {
    const rows = [1, 2, 3].map(() => ec2.addConnection({ username: placeholder }));
    const { response } = await lambda().sweep({ sweep: ec2.endpointId });
    expect(response).toMatchObject({ active: 3, unnamed: 3, terminated: [] });
    expect(statuses(rows)).toStrictEqual(["active", "active", "active"]);
  });
});

test.each(["na", "n/a", "Na", "--", " - "])("%j is a person's name", async (username) => {
  const older = ec2.addConnection({ username });
  expect((await askHandler(connectEvent({ username }))).response).toStrictEqual(ALLOWED);
  expect(older.status).toBe("terminated");
});

test("half a character in a name costs nobody else anything: the next login and sweep are as ever", async () => {
  const [older] = [ec2.addConnection(), ec2.addConnection({ username: "bob" })];
  for (const _ of [1, 2]) {
    expect((await askHandler(connectEvent({ username: "mallory\ud83d" }))).response.allow).toBe(false);
  }
  expect((await askHandler(connectEvent())).response).toStrictEqual(ALLOWED);
  expect(older?.status).toBe("terminated");
  await expect(lambda().sweep({ sweep: `${ENDPOINT_ID}\ud83d` })).rejects.toThrow("invalid input: sweep");
  expect((await lambda().sweep({ sweep: ENDPOINT_ID })).response).toMatchObject({ active: 1, terminated: [] });
});
