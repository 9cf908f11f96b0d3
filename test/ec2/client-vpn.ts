import assert from "node:assert/strict";
import type { Invocable } from "../helpers/lambda.ts";
import type { Connection } from "./connection.ts";
import type { LoopbackEc2 } from "./server.ts";

/**
 * Does what Client VPN does with a login: asks the handler, and where that allows it, has EC2 list the connection with the
 * statuses of the answer (administrator guide, "Connection authorization").
 *
 * @param event what the handler is asked; an endpoint that EC2 does not know lists nothing
 * @param fields what EC2 is to list instead of what follows from the event
 * @throws where the answer is none that Client VPN takes
 */
export async function authorize(
  ec2: LoopbackEc2,
  handler: Pick<Invocable, "invoke">,
  event: unknown,
  fields: Partial<Connection> = {},
) {
  const invocation = await handler.invoke(event);
  const { allow, "posture-compliance-statuses": statuses } = invocation.response;
  assert.ok(statuses.length <= 10, `Client VPN takes ten statuses at most, not ${statuses.length}`);
  for (const status of statuses) assert.ok(status.length <= 255, `Client VPN takes no status as long as ${status}`);
  const text = (field: string) => String(Object(event)[field] ?? "");
  if (!allow || text("endpoint-id") !== ec2.endpointId) return { ...invocation, connection: undefined };
  const connection = ec2.addConnection({
    connectionId: text("connection-id"),
    username: text("username"),
    commonName: text("common-name"),
    establishedAt: new Date(),
    postureComplianceStatuses: statuses.length > 0 ? statuses : undefined,
    ...fields,
  });
  return { ...invocation, connection };
}
