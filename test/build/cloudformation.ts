/**
 * CloudFormation in miniature: reads a template, refuses bad parameters, resolves its functions and says what is wrong
 * with a resource. What the resource types are, AWS says itself, in the specification that its CDK is made from.
 */

import { loadAwsServiceSpecSync } from "@aws-cdk/aws-service-spec";
import { yamlParse } from "yaml-cfn";
import { ENDPOINT_ID } from "../ec2/server.ts";

export interface Template {
  Description: string;
  Metadata: {
    "AWS::CloudFormation::Interface": {
      ParameterGroups: { Parameters: string[] }[];
      ParameterLabels: Record<string, { default: string }>;
    };
  };
  Parameters: Record<string, Parameter>;
  Conditions: Record<string, unknown>;
  Resources: Record<string, Resource>;
  Outputs: Record<string, { Description: string; Value: unknown }>;
}

interface Parameter {
  Type: string;
  Description: string;
  Default?: string | number;
  AllowedValues?: (string | number)[];
  AllowedPattern?: string;
  ConstraintDescription?: string;
}

export interface Resource {
  Type: string;
  Condition?: string;
  DeletionPolicy?: string;
  UpdateReplacePolicy?: string;
  Properties: Record<string, unknown>;
}

export interface Stack {
  resources: Record<string, Resource>;
  outputs: Record<string, unknown>;
}

/** Where a stack is, as its template can see it. */
export const PLACES = {
  aws: { "AWS::Partition": "aws", "AWS::Region": "eu-central-1" },
  china: { "AWS::Partition": "aws-cn", "AWS::Region": "cn-north-1" },
};
export const ACCOUNT = "123456789012";

export const TOPIC = `arn:aws:sns:eu-central-1:${ACCOUNT}:vpn-alarms`;

/** The parameters of src/stack.yaml that have no default, and all of them with other values than their defaults. */
export const ONLY_WHAT_IS_NEEDED = { EndpointId: ENDPOINT_ID };
export const ALL = {
  EndpointId: ENDPOINT_ID,
  MaxConnectionsPerUser: "12",
  OnFailure: "allow",
  Identity: "common-name",
  IgnoreUsernameCase: "true",
  DryRun: "true",
  AlarmTopicArn: TOPIC,
  LogRetentionDays: "365",
};

const spec = loadAwsServiceSpecSync();
type ResourceType = ReturnType<typeof spec.all<"resource">>[number];
type Properties = ResourceType["properties"];
type PropertyType = Properties[string]["type"];

export function readTemplate(text: string): Template {
  return yamlParse(text);
}

/**
 * Resolves a template as CloudFormation does when it creates a stack of it, but for what it makes up: a resource's Ref is
 * `<Name>` and its attribute `<Name.Attribute>`. Resources whose condition is not met are left out.
 *
 * @throws when a parameter is refused, or when something refers to what is not there
 */
export function createStack(
  template: Template,
  given: Record<string, string>,
  place = PLACES.aws,
  name = "client-vpn",
): Stack {
  const values: Record<string, unknown> = { ...place, "AWS::AccountId": ACCOUNT, "AWS::StackName": name };
  for (const key of Object.keys(given)) {
    if (!(key in template.Parameters)) throw new Error(`there is no parameter ${key}`);
  }
  for (const [key, parameter] of Object.entries(template.Parameters)) {
    values[key] = parameterValue(key, parameter, given[key]);
  }
  const isMet = (condition: string | undefined) => !condition || resolve(template.Conditions[condition]) === true;
  const existing = Object.entries(template.Resources).filter(([, { Condition }]) => isMet(Condition));
  const types = new Map(existing.map(([key, { Type }]) => [key, Type]));

  return {
    resources: mapValues(Object.fromEntries(existing), (resource) => ({
      ...resource,
      Properties: mapValues(resource.Properties, resolve),
    })),
    outputs: mapValues(template.Outputs, ({ Value }) => resolve(Value)),
  };

  function resolve(value: unknown): unknown {
    if (Array.isArray(value)) return value.map(resolve);
    if (!isObject(value)) return value;
    const [name = "", ...others] = Object.keys(value);
    if (others.length > 0 || !/^(Ref|Fn::.*)$/.test(name)) return mapValues(value, resolve);
    return call(name, value[name]);
  }

  function call(name: string, argument: unknown): unknown {
    const parts = Array.isArray(argument) ? argument.map(resolve) : [argument];
    const [first, second] = parts;
    if (name === "Ref") return ref(String(first));
    if (name === "Fn::GetAtt") return getAtt(String(first), String(second));
    if (name === "Fn::Sub") return sub(String(first));
    if (name === "Fn::Equals") return first === second;
    if (name === "Fn::Not") return first === false;
    throw new Error(`${name} is not known here`);
  }

  function ref(name: string): unknown {
    if (name in values) return values[name];
    if (types.has(name)) return `<${name}>`;
    throw new Error(`there is no ${name} to refer to`);
  }

  function getAtt(name: string, attribute: string): string {
    const type = resourceType(types.get(name) ?? "");
    if (type?.attributes[attribute] === undefined) throw new Error(`there is no ${name}.${attribute}`);
    return `<${name}.${attribute}>`;
  }

  function sub(text: string): string {
    return text.replace(/\$\{([^}]*)\}/g, (_, reference: string) => {
      const [name = "", attribute] = reference.split(".");
      return String(attribute === undefined ? ref(name) : getAtt(name, attribute));
    });
  }
}

function parameterValue(name: string, parameter: Parameter, given = parameter.Default): string | number {
  const { Type, AllowedValues, AllowedPattern = "" } = parameter;
  if (given === undefined) throw new Error(`the parameter ${name} needs a value`);
  const isAllowed = AllowedValues?.map(String).includes(String(given)) ?? true;
  if (!isAllowed || !new RegExp(AllowedPattern).test(String(given))) {
    throw new Error(`the parameter ${name} ${parameter.ConstraintDescription}`);
  }
  return Type === "Number" ? Number(given) : String(given);
}

/** Says what CloudFormation would not take of a resource whose functions have been resolved. */
export function problemsOf({ Type, Properties }: Resource): string[] {
  const type = resourceType(Type);
  return type === undefined ? [`${Type} is no resource type`] : problemsOfProperties(Type, type.properties, Properties);
}

/** What AWS allows as the value of a property. */
export function allowedValues(type: string, property: string): (string | number)[] | undefined {
  const propertyType = resourceType(type)?.properties[property]?.type;
  return propertyType !== undefined && "allowedValues" in propertyType ? propertyType.allowedValues : undefined;
}

function resourceType(type: string): ResourceType | undefined {
  return spec.lookup("resource", "cloudFormationType", "equals", type)[0];
}

function problemsOfProperties(path: string, known: Properties, value: unknown): string[] {
  if (!isObject(value)) return [`${path} is no object`];
  const missing = Object.keys(known).filter((name) => known[name]?.required === true && !(name in value));
  return [
    ...missing.map((name) => `${path} lacks ${name}`),
    ...Object.entries(value).flatMap(([name, one]) => {
      const type = known[name]?.type;
      return type === undefined ? [`${path} has no ${name}`] : problemsOfValue(`${path}.${name}`, type, one);
    }),
  ];
}

function problemsOfValue(path: string, type: PropertyType, value: unknown): string[] {
  const unless = (isFine: boolean) => (isFine ? [] : [`${path} is no ${type.type} that is allowed`]);
  switch (type.type) {
    case "string":
      return unless(typeof value === "string" && (type.allowedValues?.includes(value) ?? true));
    case "integer":
      return unless(Number.isInteger(value) && (type.allowedValues?.includes(Number(value)) ?? true));
    case "number":
    case "boolean":
      return unless(typeof value === type.type);
    case "json":
      return unless(isObject(value));
    case "array":
      if (!Array.isArray(value)) return unless(false);
      return value.flatMap((one, i) => problemsOfValue(`${path}.${i}`, type.element, one));
    case "map":
      if (!isObject(value)) return unless(false);
      return Object.entries(value).flatMap(([name, one]) => problemsOfValue(`${path}.${name}`, type.element, one));
    case "ref":
      return problemsOfProperties(path, spec.get("typeDefinition", type.reference.$ref).properties, value);
    case "union":
      return unless(type.types.some((one) => problemsOfValue(path, one, value).length === 0));
    default:
      return [`${path} is of a type that is not known here, ${type.type}`];
  }
}

function mapValues<T, U>(values: Record<string, T>, change: (value: T) => U): Record<string, U> {
  return Object.fromEntries(Object.entries(values).map(([key, value]) => [key, change(value)]));
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

export function propertiesOf({ resources }: Stack, name: string): Record<string, unknown> {
  return resources[name]?.Properties ?? {};
}

export function environmentOf(stack: Stack, name: string): Record<string, string> {
  const { Variables } = Object(propertiesOf(stack, name).Environment);
  return Variables;
}
