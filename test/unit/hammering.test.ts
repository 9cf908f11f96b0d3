import {
  type ClientVpnConnection,
  DescribeClientVpnConnectionsCommand,
  TerminateClientVpnConnectionsCommand,
} from "@aws-sdk/client-ec2";
import { expect, test, vi } from "vitest";
import { handler } from "../../src/handler.ts";
import { expectValidAnswer } from "../helpers/answers.ts";
import { useClock } from "../helpers/clock.ts";
import { connectEvent } from "../helpers/events.ts";
import { ENDED, row, useMocks } from "../helpers/mocked.ts";

vi.mock("node:timers/promises", () => import("../helpers/clock.ts"));

const { ec2 } = useMocks();
useClock();

const LATENCY_MS = 100;
const APART_MS = 50;
const MINUTES = 20;

test("somebody who hammers with the password at the start of each minute holds the account for a fifth of the time", async () => {
  const rows: ClientVpnConnection[] = [];
  const later = (answer: () => object) =>
    new Promise((resolve) => setTimeout(() => resolve(answer()), LATENCY_MS * (0.7 + 0.6 * Math.random())));
  ec2.on(DescribeClientVpnConnectionsCommand).callsFake(() => later(() => ({ Connections: [...rows] })));
  ec2.on(TerminateClientVpnConnectionsCommand).callsFake(({ ConnectionId }) =>
    later(() => {
      for (const one of rows) if (one.ConnectionId === ConnectionId) one.Status = { Code: "terminated" };
      return ENDED;
    }),
  );
  let denied = 0;
  const connect = async (): Promise<ClientVpnConnection | undefined> => {
    const id = `connection-${Math.random()}`;
    const response: unknown = await handler(connectEvent({ "connection-id": id }));
    expectValidAnswer(response);
    const ConnectionEstablishedTime = new Date().toISOString().slice(0, 19).replace("T", " ");
    if (response.allow) rows.push(row(id, { ConnectionEstablishedTime }));
    return response.allow ? rows.at(-1) : undefined;
  };

  let ofOwner: ClientVpnConnection | undefined;
  let isTrying = false;
  const tryAsOwner = async () => {
    isTrying = true;
    ofOwner = await connect();
    if (ofOwner === undefined) denied++;
    isTrying = false;
  };
  let seconds = 0;
  for (let second = 0; second < MINUTES * 60; second++) {
    if (second % 60 === 0) for (let attempt = 0; attempt < 30; attempt++) setTimeout(connect, attempt * APART_MS);
    const isConnected = ofOwner?.Status?.Code === "active";
    if (isConnected) seconds++;
    // She notices, and tries again every five seconds.
    else if (second % 5 === 4 && !isTrying) tryAsOwner();
    await vi.advanceTimersByTimeAsync(1_000);
  }
  expect(seconds).toBeGreaterThan(MINUTES * 45);
  expect(denied).toBeLessThan(MINUTES * 3);
});
