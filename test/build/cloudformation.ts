/**
 * CloudFormation in miniature: refuses what it would refuse of a template and its parameters, and resolves the rest. What
 * the resource types are, AWS says itself, in the specification that its CDK is made from.
 */

import { readFileSync } from "node:fs";
import { loadAwsServiceSpecSync } from "@aws-cdk/aws-service-spec";
import { yamlParse } from "yaml-cfn";
import { ENDPOINT_ID } from "../ec2/server.ts";

/** The parts of a template that the tests look at; the rest is in {@link Stack}, resolved. */
export interface Template {
  Description: string;
  Metadata: {
    "AWS::CloudFormation::Interface": { ParameterGroups: { Parameters: string[] }[]; ParameterLabels: object };
  };
  Parameters: Record<string, Parameter>;
  Conditions: Record<string, unknown>;
  Resources: Record<string, Resource>;
  Outputs: Record<string, { Condition?: string; Description: string; Value: unknown }>;
}
type Parameter = Record<"Type" | "Description" | "ConstraintDescription", string> & {
  Default?: string | number;
  AllowedValues?: (string | number)[];
  AllowedPattern?: string;
  MaxLength?: number;
  MinValue?: number;
};
type Resource = { Type: string; Condition?: string; Properties: Record<string, unknown> } & Record<string, unknown>;

/** The resources whose condition is met, and the outputs. A Ref to a resource is `<Name>`, an attribute `<Name.Arn>`. */
export type Stack = { resources: Record<string, Resource>; outputs: Record<string, unknown> };

/** What CloudFormation knows without being told, and a test can give like a parameter. */
const PSEUDO_PARAMETERS = {
  "AWS::AccountId": "123456789012",
  "AWS::NoValue": undefined,
  "AWS::Partition": "aws",
  "AWS::Region": "eu-central-1",
  "AWS::StackName": "client-vpn",
};

/** The parameters of src/stack.yaml that have no default, and all of them with other values than their defaults. */
export const ONLY_WHAT_IS_NEEDED = { EndpointId: ENDPOINT_ID };
export const ALL = {
  EndpointId: ENDPOINT_ID,
  MaxConnectionsPerUser: "2",
  OnFailure: "allow",
  Identity: "common-name",
  IgnoreUsernameCase: "true",
  KeepNames: "true",
  CheckLogins: "false",
  ExemptUsers: "kiosk, CORP\\break glass",
  DryRun: "false",
  AlarmTopicArn: "arn:aws:sns:eu-central-1:123456789012:vpn-alarms",
  AlarmsWhenOver: "true",
  Dashboard: "false",
  ConnectionLogGroup: "/vpn/connections",
  TakeoversPerHour: "9",
  LogRetentionDays: "365",
  LogKeyArn: "arn:aws:kms:eu-central-1:123456789012:key/0f13eab7-f860-433c-c0f1-3eab7f860433",
  ReservedConcurrency: "50",
  LayerArns:
    "arn:aws:lambda:eu-central-1:123456789012:layer:vpn-check:3, arn:aws:lambda:eu-central-1:901920570463:layer:otel:12",
  EntryPoint: "/opt/check.handler",
  PermissionsBoundaryArn: "arn:aws:iam::123456789012:policy/landing-zone/boundary",
};

type Spec = ReturnType<typeof loadAwsServiceSpecSync>;
type Properties = ReturnType<typeof typeOf>["properties"];

let loaded: Spec | undefined;

/** It is large, so that whoever only reads the template does not load it. */
function spec(): Spec {
  loaded ??= loadAwsServiceSpecSync();
  return loaded;
}

/** Reads a template from a file. */
export const readTemplate = (file: string | URL): Template => yamlParse(readFileSync(file, "utf8"));

/**
 * Creates a stack.
 *
 * @param given the parameters, and pseudo parameters such as `AWS::Region`
 * @throws where a parameter is refused, something refers to what is not there, or a property is none that AWS knows
 */
export function createStack(template: Template, given: Record<string, string>): Stack {
  const values: Record<string, unknown> = { ...PSEUDO_PARAMETERS, ...given };
  for (const [name, { Type, Default, ...allowed }] of Object.entries(template.Parameters)) {
    const value = String(given[name] ?? Default);
    const isAllowed = allowed.AllowedValues?.map(String).includes(value) ?? true;
    const isShort = value.length <= (allowed.MaxLength ?? 4_096);
    const isNumber = Type !== "Number" || (value !== "" && Number(value) >= (allowed.MinValue ?? 0));
    const list = Type === "CommaDelimitedList" ? value.split(",").map((one) => one.trim()) : undefined;
    const pattern = new RegExp(allowed.AllowedPattern ?? "");
    if (!isAllowed || !isShort || !isNumber || !(list ?? [value]).every((one) => pattern.test(one))) {
      throw new Error(`the parameter ${name} ${allowed.ConstraintDescription}`);
    }
    values[name] = list ?? (Type === "Number" ? Number(value) : value);
  }
  const isConditionMet = (condition: string) => {
    if (!(condition in template.Conditions)) throw new Error(`there is no condition ${condition}`);
    return resolve(template.Conditions[condition]) === true;
  };
  const isMet = ({ Condition }: { Condition?: string }) => Condition === undefined || isConditionMet(Condition);
  const existing = filterValues(template.Resources, isMet);
  const resources = mapValues(existing, (resource) => ({
    ...resource,
    Properties: resolveAll(resource.Properties),
  }));
  for (const [name, { Type, Properties }] of Object.entries(resources)) {
    const problem = problemOf(typeOf(Type).properties, Properties);
    if (problem) throw new Error(`the resource ${name} of type ${Type} ${problem}`);
  }
  return { resources, outputs: mapValues(filterValues(template.Outputs, isMet), ({ Value }) => resolve(Value)) };

  function resolve(value: unknown): unknown {
    if (Array.isArray(value)) return value.map(resolve);
    if (!isObject(value)) return value;
    const [[name, argument] = ["", undefined], ...others] = Object.entries(value);
    if (others.length > 0 || !/^(Ref|Fn::.*)$/.test(name)) return resolveAll(value);
    // The other one may refer to what is not there.
    if (name === "Fn::If" && Array.isArray(argument)) return resolve(argument[isConditionMet(argument[0]) ? 1 : 2]);
    const parts = Array.isArray(argument) ? argument.map(resolve) : [argument];
    if (name === "Ref") return refer(String(argument));
    if (name === "Fn::GetAtt") return refer(parts.join("."));
    if (name === "Fn::Sub") {
      const [text, own] = parts;
      return String(text).replace(/\$\{([^}]*)\}/g, (_, to: string) => String(Object(own)[to] ?? refer(to)));
    }
    if (name === "Fn::Equals") return parts[0] === parts[1];
    if (name === "Fn::Not") return parts[0] === false;
    if (name === "Fn::Join" && Array.isArray(parts[1])) return parts[1].join(String(parts[0]));
    throw new Error(`${name} is not known here`);
  }

  /** A property of AWS::NoValue is none. */
  function resolveAll(properties: Record<string, unknown>): Record<string, unknown> {
    return filterValues(mapValues(properties, resolve), (value) => value !== undefined);
  }

  function refer(to: string): unknown {
    const [name = "", attribute] = to.split(".");
    if (to in values) return values[to];
    const resource = existing[name];
    if (resource && (!attribute || attribute in typeOf(resource.Type).attributes)) return `<${to}>`;
    throw new Error(`there is no ${to} to refer to`);
  }
}

function typeOf(type: string) {
  const [found] = spec().lookup("resource", "cloudFormationType", "equals", type);
  if (found === undefined) throw new Error(`${type} is no resource type`);
  return found;
}

/** Says what AWS would not take of a value with these properties. */
function problemOf(known: Properties, value: unknown): string | undefined {
  if (!isObject(value)) return "is no object";
  const missing = Object.keys(known).find((name) => known[name]?.required && !(name in value));
  if (missing) return `lacks ${missing}`;
  const wrong = Object.keys(value).find((name) => !known[name] || !isOf(known[name].type, value[name]));
  return wrong && `does not take this as ${wrong}`;
}

function isOf(type: Properties[string]["type"], value: unknown): boolean {
  switch (type.type) {
    case "string":
      return typeof value === "string" && (type.allowedValues?.includes(value) ?? true);
    case "integer":
      // CloudFormation makes a number of a text.
      return /^\d+$/.test(String(value)) && (type.allowedValues?.includes(Number(value)) ?? true);
    case "json":
      return isObject(value);
    case "array":
      return Array.isArray(value) && value.every((one) => isOf(type.element, one));
    case "map":
      return isObject(value) && Object.values(value).every((one) => isOf(type.element, one));
    case "ref":
      return problemOf(spec().get("typeDefinition", type.reference.$ref).properties, value) === undefined;
    case "union":
      return type.types.some((one) => isOf(one, value));
    default:
      return typeof value === type.type;
  }
}

function mapValues<T, U>(values: Record<string, T>, change: (value: T) => U): Record<string, U> {
  return Object.fromEntries(Object.entries(values).map(([key, value]) => [key, change(value)]));
}

function filterValues<T>(values: Record<string, T>, isWanted: (value: T) => boolean): Record<string, T> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => isWanted(value)));
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** The resolved properties of a resource; the environment variables of a function. */
export const propertiesOf = ({ resources }: Stack, name: string) => resources[name]?.Properties ?? {};
export const environmentOf = (stack: Stack): Record<string, string> =>
  Object(propertiesOf(stack, "Handler").Environment).Variables;

/** The properties of all resources whose type matches, by their names. */
export function propertiesByType({ resources }: Stack, type: RegExp): Record<string, Record<string, unknown>> {
  const found = Object.entries(resources).filter(([, { Type }]) => type.test(Type));
  return Object.fromEntries(found.map(([name, { Properties }]) => [name, Properties]));
}
