import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { HANDLER, STACK } from "../../build.mjs";
import { ENDPOINT_ID } from "../ec2/server.ts";
import { DIST } from "../helpers/lambda.ts";
import {
  ACCOUNT,
  ALL,
  allowedValues,
  createStack,
  environmentOf,
  ONLY_WHAT_IS_NEEDED,
  PLACES,
  problemsOf,
  propertiesOf,
  readTemplate,
  type Stack,
  TOPIC,
} from "./cloudformation.ts";

// dist/stack.yaml, the template that an administrator uploads.

const source = readFileSync(STACK, "utf8");
const template = readTemplate(readFileSync(`${DIST}stack.yaml`, "utf8"));

const byDefault = createStack(template, ONLY_WHAT_IS_NEEDED);
const withAll = createStack(template, ALL);
const inChina = createStack(
  template,
  { ...ALL, AlarmTopicArn: `arn:aws-cn:sns:cn-north-1:${ACCOUNT}:vpn-alarms` },
  PLACES.china,
);
const stacks: [name: string, stack: Stack, arn: string][] = [
  ["with the default parameters", byDefault, `arn:aws:ec2:eu-central-1:${ACCOUNT}`],
  ["with all parameters", withAll, `arn:aws:ec2:eu-central-1:${ACCOUNT}`],
  ["in China", inChina, `arn:aws-cn:ec2:cn-north-1:${ACCOUNT}`],
];

/** The properties of all resources whose type matches, by their names. */
function propertiesByType({ resources }: Stack, type: RegExp): Record<string, unknown> {
  const found = Object.entries(resources).filter(([, { Type }]) => type.test(Type));
  return Object.fromEntries(found.map(([name, { Properties }]) => [name, Properties]));
}

describe.each(stacks)("the stack, %s", (_, stack, arn) => {
  test("has the resources and properties that CloudFormation knows, and all that they need", () => {
    expect(Object.values(stack.resources).flatMap(problemsOf)).toStrictEqual([]);
  });

  test("allows each function two actions on this endpoint and its own log, the schedule the sweep, and nothing else", () => {
    const trusted = (service: string, condition: object = {}) => ({
      Version: "2012-10-17",
      Statement: [{ Effect: "Allow", Principal: { Service: service }, Action: "sts:AssumeRole", ...condition }],
    });
    const role = (log: string) => ({
      AssumeRolePolicyDocument: trusted("lambda.amazonaws.com"),
      Policies: [
        {
          PolicyName: "end-older-connections-and-log",
          PolicyDocument: {
            Version: "2012-10-17",
            Statement: [
              {
                Effect: "Allow",
                Action: ["ec2:DescribeClientVpnConnections", "ec2:TerminateClientVpnConnections"],
                Resource: `${arn}:client-vpn-endpoint/${ENDPOINT_ID}`,
              },
              { Effect: "Allow", Action: ["logs:CreateLogStream", "logs:PutLogEvents"], Resource: `<${log}.Arn>` },
            ],
          },
        },
      ],
    });
    expect(propertiesByType(stack, /^AWS::IAM::|Permission|Policy/)).toStrictEqual({
      HandlerRole: role("HandlerLog"),
      SweepRole: role("SweepLog"),
      ScheduleRole: {
        AssumeRolePolicyDocument: trusted("scheduler.amazonaws.com", {
          Condition: { StringEquals: { "aws:SourceAccount": ACCOUNT } },
        }),
        Policies: [
          {
            PolicyName: "invoke-the-sweep",
            PolicyDocument: {
              Version: "2012-10-17",
              Statement: [{ Effect: "Allow", Action: "lambda:InvokeFunction", Resource: "<Sweep.Arn>" }],
            },
          },
        ],
      },
    });
  });

  test("runs both functions alike, each with its own role and log", () => {
    const common = {
      Description: expect.any(String),
      Runtime: "nodejs24.x",
      Architectures: ["x86_64"],
      Timeout: 30,
      MemorySize: 512,
      Environment: expect.any(Object),
      Code: { ZipFile: expect.any(String) },
    };
    expect(propertiesByType(stack, /^AWS::Lambda::Function$/)).toStrictEqual({
      Handler: {
        ...common,
        FunctionName: "AWSClientVPN-client-vpn",
        Handler: "index.handler",
        Role: "<HandlerRole.Arn>",
        LoggingConfig: { LogGroup: "<HandlerLog>", LogFormat: "JSON" },
      },
      Sweep: {
        ...common,
        Handler: "index.handler",
        Role: "<SweepRole.Arn>",
        LoggingConfig: { LogGroup: "<SweepLog>", LogFormat: "JSON" },
      },
    });
    expect(environmentOf(stack, "Sweep")).toStrictEqual(environmentOf(stack, "Handler"));
  });

  test("sweeps once a minute, and never a second time for the same minute", () => {
    expect(propertiesByType(stack, /Schedule|EventInvoke/)).toStrictEqual({
      Schedule: {
        Description: expect.any(String),
        ScheduleExpression: "rate(1 minute)",
        FlexibleTimeWindow: { Mode: "OFF" },
        Target: {
          Arn: "<Sweep.Arn>",
          RoleArn: "<ScheduleRole.Arn>",
          Input: `{"sweep": "${ENDPOINT_ID}"}`,
          RetryPolicy: { MaximumRetryAttempts: 0 },
        },
      },
      SweepInvocation: {
        FunctionName: "<Sweep>",
        Qualifier: "$LATEST",
        MaximumRetryAttempts: 0,
        MaximumEventAgeInSeconds: 60,
      },
    });
  });

  test("prints the commands that turn it on and off, and where the logs are", () => {
    const region = arn.split(":")[3];
    const command = `aws ec2 modify-client-vpn-endpoint --region ${region} --client-vpn-endpoint-id ${ENDPOINT_ID}`;
    expect(stack.outputs).toStrictEqual({
      HandlerArn: "<Handler.Arn>",
      TurnOn: `${command} --client-connect-options Enabled=true,LambdaFunctionArn=<Handler.Arn>`,
      TurnOff: `${command} --client-connect-options Enabled=false`,
      HandlerLog: "<HandlerLog>",
      SweepLog: "<SweepLog>",
    });
  });
});

describe("the check of a stack", () => {
  function checkWith(from: string, to: string): string[] {
    expect(source).toContain(from);
    const { resources } = createStack(readTemplate(source.replace(from, to)), ONLY_WHAT_IS_NEEDED);
    return Object.values(resources).flatMap(problemsOf);
  }

  test.each([
    ["AWS::Scheduler::Schedule", "AWS::Scheduler::Timetable", "AWS::Scheduler::Timetable is no resource type"],
    ["Runtime: nodejs24.x", "Run: nodejs24.x", "AWS::Lambda::Function has no Run"],
    ["Mode:", "Mode: OFF, Modus:", "AWS::Scheduler::Schedule.FlexibleTimeWindow has no Modus"],
    ["ScheduleExpression: rate(1 minute)", "", "AWS::Scheduler::Schedule lacks ScheduleExpression"],
    ["Timeout: 30", "Timeout: long", "AWS::Lambda::Function.Timeout is no integer that is allowed"],
    ["!Ref LogRetentionDays", "91", "AWS::Logs::LogGroup.RetentionInDays is no integer that is allowed"],
    ["[x86_64]", "[[x86_64]]", "AWS::Lambda::Function.Architectures.0 is no string that is allowed"],
  ])("finds what is wrong when %j is %j", (from, to, problem) => {
    expect(checkWith(from, to)).toStrictEqual([problem]);
  });

  test.each([
    ["!Ref HandlerLog", "!Ref Log", "there is no Log to refer to"],
    ["Handler.Arn}", "Function.Arn}", "there is no Function.Arn"],
    ["!GetAtt Sweep.Arn", "!GetAtt Sweep.Name", "there is no Sweep.Name"],
    ["Value: !Ref HandlerLog", "Value: !Ref Denials", "there is no Denials to refer to"],
  ])("finds no target when %j is %j", (from, to, problem) => {
    expect(() => checkWith(from, to)).toThrow(problem);
  });
});

describe("the log groups", () => {
  test.each(["HandlerLog", "SweepLog"])("%s keeps its entries as long as is set, and outlives the stack", (name) => {
    expect(propertiesOf(byDefault, name)).toStrictEqual({ RetentionInDays: 90 });
    expect(propertiesOf(withAll, name)).toStrictEqual({ RetentionInDays: 365 });
    expect(template.Resources[name]?.DeletionPolicy).toBe("RetainExceptOnCreate");
    expect(template.Resources[name]?.UpdateReplacePolicy).toBe("Retain");
  });
});

describe("the name of the handler", () => {
  test("has Lambda's 64 characters at most for the longest name that the template allows a stack", () => {
    const [, longest = ""] = /name may have (\d+) characters at most/.exec(template.Description) ?? [];
    const stack = createStack(template, ONLY_WHAT_IS_NEEDED, PLACES.aws, "s".repeat(Number(longest)));
    expect(propertiesOf(stack, "Handler").FunctionName).toMatch(/^AWSClientVPN-s{51}$/);
  });
});

describe("the settings", () => {
  const settings = [...readFileSync(HANDLER, "utf8").matchAll(/^ {2}([A-Z_]+): \{ byDefault: "([^"]*)"/gm)];

  test("are those that the handler reads, and by default what it takes for them by default", () => {
    expect(settings.length).toBeGreaterThan(4);
    const defaults = Object.fromEntries(settings.map(([, name, value]) => [name, value]));
    expect(environmentOf(byDefault, "Handler")).toStrictEqual(defaults);
  });

  test("are what the parameters say", () => {
    expect(environmentOf(withAll, "Handler")).toStrictEqual({
      MAX_CONNECTIONS_PER_USER: "12",
      ON_FAILURE: "allow",
      IDENTITY: "common-name",
      IGNORE_USERNAME_CASE: "true",
      DRY_RUN: "true",
    });
  });

  test.each(["OnFailure", "Identity", "IgnoreUsernameCase", "DryRun"] as const)("%s has two values", (name) => {
    const { Default, AllowedValues } = template.Parameters[name] ?? {};
    expect(AllowedValues).toStrictEqual([Default, ALL[name]]);
  });
});

describe("the parameters", () => {
  const anArn = (fields: string) => `arn:aws:sns:eu-central-1:${fields}`;

  test.each<[name: string, refused: string[]]>([
    ["EndpointId", ["", "cvpn-endpoint-", ENDPOINT_ID.slice(0, -1), `${ENDPOINT_ID}0`, ` ${ENDPOINT_ID}`]],
    ["EndpointId", [ENDPOINT_ID.toUpperCase(), "vpce-0f13eab7f860433cc", `${ENDPOINT_ID}"`, `${ENDPOINT_ID}\n`, "*"]],
    ["MaxConnectionsPerUser", ["", "0", "-1", "1.5", "01", "1e3", "two", " 2"]],
    ["OnFailure", ["", "Deny", "ALLOW", "true"]],
    ["Identity", ["", "Username", "common_name", "email"]],
    ["IgnoreUsernameCase", ["", "True", "yes", "1"]],
    ["DryRun", ["", "TRUE", "no", "0"]],
    ["AlarmTopicArn", ["vpn-alarms", "me@example.com", anArn("123:vpn-alarms"), anArn(`${ACCOUNT}:alarms.fifo`)]],
    ["AlarmTopicArn", [anArn(`${ACCOUNT}:`), ` ${TOPIC}`, TOPIC.replace(":sns:", ":sqs:"), `${TOPIC},${TOPIC}`]],
    ["LogRetentionDays", ["", "0", "2", "91", "forever"]],
  ])("%s refuses %j", (name, refused) => {
    for (const value of refused) {
      const create = () => createStack(template, { ...ALL, [name]: value });
      expect(create, value).toThrow(`the parameter ${name} must be`);
    }
  });

  test("are all optional but the endpoint", () => {
    const { EndpointId: _, ...others } = ALL;
    expect(() => createStack(template, others)).toThrow("the parameter EndpointId needs a value");
  });

  test("take a topic of any partition", () => {
    for (const partition of ["aws", "aws-cn", "aws-us-gov", "aws-iso-b"]) {
      const AlarmTopicArn = TOPIC.replace("arn:aws:", `arn:${partition}:`);
      expect(() => createStack(template, { ...ALL, AlarmTopicArn }), partition).not.toThrow();
    }
  });

  test("take each number of days that CloudWatch Logs takes, and no other", () => {
    const days = allowedValues("AWS::Logs::LogGroup", "RetentionInDays");
    expect(days).toContain(90);
    expect(template.Parameters.LogRetentionDays?.AllowedValues).toStrictEqual(days);
  });

  test("each have a description, and a label in a group of the console's form", () => {
    const names = Object.keys(template.Parameters).sort();
    const { ParameterGroups, ParameterLabels } = template.Metadata["AWS::CloudFormation::Interface"];
    expect(names).toStrictEqual(Object.keys(ALL).sort());
    expect(ParameterGroups.flatMap(({ Parameters }) => Parameters).sort()).toStrictEqual(names);
    expect(Object.keys(ParameterLabels).sort()).toStrictEqual(names);
    for (const { Description } of Object.values(template.Parameters)) expect(Description).toMatch(/\w.*\.$/);
  });
});

describe("the alarms", () => {
  const ALARM = /^AWS::CloudWatch::Alarm$/;

  test("are not there without a topic to tell", () => {
    expect(propertiesByType(byDefault, ALARM)).toStrictEqual({});
    expect(propertiesByType(byDefault, /MetricFilter/)).toStrictEqual({});
  });

  test("watch denials, logins let in unchecked, each failure of the handler, and a sweep that fails or does not run", () => {
    const alarm = (namespace: string, metric: string, threshold: number) => ({
      AlarmDescription: expect.stringContaining(ENDPOINT_ID),
      Namespace: namespace,
      MetricName: metric,
      Statistic: "Sum",
      Period: 300,
      EvaluationPeriods: 1,
      Threshold: threshold,
      ComparisonOperator: "GreaterThanOrEqualToThreshold",
      TreatMissingData: "notBreaching",
      AlarmActions: [TOPIC],
    });
    const ofTheHandler = (metric: string, threshold = 1) => ({
      ...alarm("AWS/ClientVPN", `ClientConnectHandler${metric}`, threshold),
      Dimensions: [{ Name: "Endpoint", Value: ENDPOINT_ID }],
    });
    const ofTheSweep = (metric: string, threshold: number) => ({
      ...alarm("AWS/Lambda", metric, threshold),
      Dimensions: [{ Name: "FunctionName", Value: "<Sweep>" }],
    });
    const UNCHECKED = { namespace: "ClientVPNSessionHandler", metric: "client-vpn-unchecked-logins" };
    expect(propertiesByType(withAll, /MetricFilter/)).toStrictEqual({
      UncheckedLogin: {
        LogGroupName: "<HandlerLog>",
        FilterPattern: expect.any(String),
        MetricTransformations: [
          { MetricNamespace: UNCHECKED.namespace, MetricName: UNCHECKED.metric, MetricValue: "1" },
        ],
      },
    });
    expect(propertiesByType(withAll, ALARM)).toStrictEqual({
      UncheckedLogins: alarm(UNCHECKED.namespace, UNCHECKED.metric, 1),
      Denials: ofTheHandler("DeniedConnections", 3),
      Timeouts: ofTheHandler("Timeouts"),
      InvalidResponses: ofTheHandler("InvalidResponses"),
      OtherExecutionErrors: ofTheHandler("OtherExecutionErrors"),
      ThrottlingErrors: ofTheHandler("ThrottlingErrors"),
      FailedServiceErrors: ofTheHandler("FailedServiceErrors"),
      SweepErrors: ofTheSweep("Errors", 3),
      SweepStopped: {
        ...ofTheSweep("Invocations", 1),
        ComparisonOperator: "LessThanThreshold",
        TreatMissingData: "breaching",
      },
    });
  });
});
