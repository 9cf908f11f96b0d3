import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { ENDPOINT_ID } from "../ec2/server.ts";
import { DIST } from "../helpers/lambda.ts";
import { expectEachSetting } from "../helpers/settings.ts";
import {
  ALL,
  createStack,
  environmentOf,
  ONLY_WHAT_IS_NEEDED,
  propertiesByType,
  propertiesOf,
  readTemplate,
  type Stack,
} from "./cloudformation.ts";

// dist/stack.yaml, the template that an administrator uploads.

const ACCOUNT = "123456789012";
const TOPIC = ALL.AlarmTopicArn;

const template = readTemplate(`${DIST}stack.yaml`);
const byDefault = createStack(template, ONLY_WHAT_IS_NEEDED);
const withAll = createStack(template, ALL);
// In another account than the other stacks, so that none is written out.
const CHINESE = "210987654321";
const inChina = createStack(template, {
  ...ALL,
  AlarmTopicArn: `arn:aws-cn:sns:cn-north-1:${CHINESE}:vpn-alarms`,
  PermissionsBoundaryArn: "arn:aws-cn:iam::aws:policy/PowerUserAccess",
  "AWS::AccountId": CHINESE,
  "AWS::Partition": "aws-cn",
  "AWS::Region": "cn-north-1",
});
// What Lambda calls, and the properties that are there only where they are asked for.
const ofAll = {
  Handler: "/opt/check.handler",
  Layers: [
    "arn:aws:lambda:eu-central-1:123456789012:layer:vpn-check:3",
    "arn:aws:lambda:eu-central-1:901920570463:layer:otel:12",
  ],
  ReservedConcurrentExecutions: "50",
};
const stacks: [name: string, stack: Stack, arn: string, boundary: { PermissionsBoundary?: string }, called: object][] =
  [
    ["with the default parameters", byDefault, `arn:aws:ec2:eu-central-1:${ACCOUNT}`, {}, { Handler: "index.handler" }],
    [
      "with all parameters",
      withAll,
      `arn:aws:ec2:eu-central-1:${ACCOUNT}`,
      { PermissionsBoundary: ALL.PermissionsBoundaryArn },
      ofAll,
    ],
    [
      "in China",
      inChina,
      `arn:aws-cn:ec2:cn-north-1:${CHINESE}`,
      { PermissionsBoundary: "arn:aws-cn:iam::aws:policy/PowerUserAccess" },
      ofAll,
    ],
  ];

describe.each(stacks)("the stack, %s", (_, stack, arn, boundary, called) => {
  const [, , , region, account] = arn.split(":");

  test("allows the function two actions on this endpoint and its own log, the schedule the function, and nothing else", () => {
    const trusted = (service: string, condition: object = {}) => ({
      Version: "2012-10-17",
      Statement: [{ Effect: "Allow", Principal: { Service: service }, Action: "sts:AssumeRole", ...condition }],
    });
    const statements = [
      {
        Effect: "Allow",
        Action: ["ec2:DescribeClientVpnConnections", "ec2:TerminateClientVpnConnections"],
        Resource: `${arn}:client-vpn-endpoint/${ENDPOINT_ID}`,
      },
      { Effect: "Allow", Action: ["logs:CreateLogStream", "logs:PutLogEvents"], Resource: "<HandlerLog.Arn>" },
    ];
    const policies = (PolicyName: string, Statement: object[]) => [
      { PolicyName, PolicyDocument: { Version: "2012-10-17", Statement } },
    ];
    expect(propertiesByType(stack, /^AWS::IAM::|Permission|Policy/)).toStrictEqual({
      HandlerRole: {
        AssumeRolePolicyDocument: trusted("lambda.amazonaws.com"),
        ...boundary,
        Policies: policies("end-older-connections-and-log", statements),
      },
      ScheduleRole: {
        AssumeRolePolicyDocument: trusted("scheduler.amazonaws.com", {
          Condition: { StringEquals: { "aws:SourceAccount": account } },
        }),
        ...boundary,
        Policies: policies("invoke-the-handler", [
          { Effect: "Allow", Action: "lambda:InvokeFunction", Resource: "<Handler.Arn>" },
        ]),
      },
    });
  });

  test("runs one function, which Client VPN may call by its name", () => {
    expect(propertiesByType(stack, /^AWS::Lambda::Function$/)).toStrictEqual({
      Handler: {
        FunctionName: "AWSClientVPN-client-vpn",
        Description: expect.any(String),
        Role: "<HandlerRole.Arn>",
        Runtime: "nodejs24.x",
        Architectures: ["x86_64"],
        ...called,
        Timeout: 30,
        MemorySize: 512,
        LoggingConfig: {
          LogGroup: "<HandlerLog>",
          LogFormat: "JSON",
          ApplicationLogLevel: "INFO",
          SystemLogLevel: "INFO",
        },
        Environment: expect.any(Object),
        Code: { ZipFile: expect.any(String) },
      },
    });
  });

  test("sweeps once a minute, and never a second time for the same minute", () => {
    expect(propertiesByType(stack, /Schedule|EventInvoke/)).toStrictEqual({
      Schedule: {
        Description: expect.any(String),
        ScheduleExpression: "rate(1 minute)",
        FlexibleTimeWindow: { Mode: "OFF" },
        Target: {
          Arn: "<Handler.Arn>",
          RoleArn: "<ScheduleRole.Arn>",
          Input: `{"sweep": "${ENDPOINT_ID}"}`,
          RetryPolicy: { MaximumRetryAttempts: 0 },
        },
      },
      SweepInvocation: {
        FunctionName: "<Handler>",
        Qualifier: "$LATEST",
        MaximumRetryAttempts: 0,
        MaximumEventAgeInSeconds: 60,
      },
    });
  });

  test("prints the commands that turn it on and off, let everybody in and enforce again, show the log, and its version", () => {
    const command = `aws ec2 modify-client-vpn-endpoint --region ${region} --client-vpn-endpoint-id ${ENDPOINT_ID}`;
    const lever = `aws lambda update-function-configuration --region ${region} --function-name <Handler> --handler`;
    expect(stack.outputs).toStrictEqual({
      HandlerArn: "<Handler.Arn>",
      TurnOn:
        `aws cloudformation update-termination-protection --region ${region} --stack-name client-vpn ` +
        "--enable-termination-protection >/dev/null && " +
        `${command} --client-connect-options Enabled=true,LambdaFunctionArn=<Handler.Arn>`,
      LetEverybodyIn: `${lever} index.letIn`,
      EnforceAgain: `${lever} ${Object(called).Handler}`,
      TurnOff: `${command} --client-connect-options Enabled=false`,
      WatchLog: `aws logs tail <HandlerLog> --region ${region} --since 10m --follow`,
      Log: "<HandlerLog>",
      ...(stack === byDefault
        ? { Dashboard: "<DashboardPage>" }
        : {
            TestAlarm:
              `aws cloudwatch set-alarm-state --region ${region} --alarm-name <Denials> --state-value ALARM ` +
              '--state-reason "a test"',
          }),
      Version: JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")).version,
    });
  });
});

test("no description is longer than AWS takes it, with the longest names that AWS gives", () => {
  const EntryPoint = `/opt/${"c".repeat(51)}.handler`;
  const withLongest = { ...ALL, EntryPoint, "AWS::StackName": "s".repeat(51), "AWS::Region": "ap-southeast-1" };
  const longest = createStack(template, withLongest);
  expect(() => createStack(template, { ...withLongest, EntryPoint: `${EntryPoint}s` })).toThrow("EntryPoint must be");
  // A stack's name, a resource's and a random part. Lambda, IAM and EventBridge Scheduler take 64 characters.
  const alarms = Object.values(longest.resources).map(({ Properties }) =>
    String(Properties.AlarmDescription ?? "").replace(/<([\w.]+)>/g, (_, to) =>
      "x".repeat(to === "HandlerLog" ? 80 : 64),
    ),
  );
  const descriptions = [template, ...Object.values(template.Outputs)].map(({ Description }) => Description);
  for (const text of [...descriptions, ...alarms]) expect(text.length, text).toBeLessThanOrEqual(1_024);
});

test("only what looks when somebody looks has Client VPN's log group, which need not exist", () => {
  const having = ({ resources }: Stack) =>
    Object.entries(resources).filter(([, { Properties }]) => JSON.stringify(Properties).includes("/vpn/connections"));
  const stack = createStack(template, { ...ALL, Dashboard: "true" });
  const types = having(stack).map(([, { Type }]) => Type);
  expect(types.sort()).toStrictEqual(["AWS::CloudWatch::Dashboard", ...Array(3).fill("AWS::Logs::QueryDefinition")]);
  const without = createStack(template, { ...ALL, Dashboard: "true", ConnectionLogGroup: "" });
  const gone = Object.keys(stack.resources).filter((name) => !(name in without.resources));
  expect(gone.sort()).toStrictEqual(["ConnectionsOfUser", "FailedAttempts", "MostAddresses"]);
  expect(propertiesOf(without, "DashboardPage").DashboardBody).not.toContain("SOURCE ''");
});

test("there is no dashboard where none is wanted", () => {
  expect(Object.keys(propertiesByType(byDefault, /Dashboard/))).toStrictEqual(["DashboardPage"]);
  expect(propertiesByType(withAll, /Dashboard/)).toStrictEqual({});
});

test("the one log group keeps its entries as long as is set, with the key that is set, and outlives the stack", () => {
  const logGroup = {
    Type: "AWS::Logs::LogGroup",
    DeletionPolicy: "RetainExceptOnCreate",
    UpdateReplacePolicy: "Retain",
  };
  for (const [stack, Properties] of [
    [byDefault, { RetentionInDays: 90 }],
    [withAll, { RetentionInDays: 365, KmsKeyId: ALL.LogKeyArn }],
  ] as const) {
    const logs = Object.values(stack.resources).filter(({ Type }) => Type === logGroup.Type);
    expect(logs).toStrictEqual([{ ...logGroup, Properties }]);
  }
});

describe("the name of the handler", () => {
  test("has Lambda's 64 characters at most for the longest name that the template allows a stack", () => {
    const [, longest = ""] = /name may have (\d+) characters at most/.exec(template.Description) ?? [];
    const stack = createStack(template, {
      ...ONLY_WHAT_IS_NEEDED,
      "AWS::StackName": "s".repeat(Number(longest)),
    });
    expect(propertiesOf(stack, "Handler").FunctionName).toMatch(/^AWSClientVPN-s{51}$/);
  });
});

describe("the settings", () => {
  // That its defaults are the handler's too, stack-code.test.ts tries.
  test("are those that the handler reads", () => {
    expectEachSetting(Object.keys(environmentOf(byDefault)), "Environment.Variables in src/stack.yaml");
  });

  test("are what the parameters say", () => {
    expect(environmentOf(withAll)).toStrictEqual({
      MAX_CONNECTIONS_PER_USER: "2",
      ON_FAILURE: "allow",
      IDENTITY: "common-name",
      IGNORE_USERNAME_CASE: "true",
      KEEP_NAMES: "true",
      CHECK_LOGINS: "false",
      EXEMPT_USERS: ALL.ExemptUsers,
      DRY_RUN: "false",
    });
  });

  test.each([
    "OnFailure",
    "Identity",
    "IgnoreUsernameCase",
    "KeepNames",
    "CheckLogins",
    "DryRun",
    "Dashboard",
    "AlarmsWhenOver",
  ] as const)("%s has two values", (name) => {
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
    ["KeepNames", ["", "True", "yes", "1"]],
    ["CheckLogins", ["", "False", "no", "0"]],
    ["DryRun", ["", "TRUE", "no", "0"]],
    ["Dashboard", ["", "True", "no", "0"]],
    ["AlarmsWhenOver", ["", "True", "no", "0"]],
    ["ReservedConcurrency", ["0", "-1", "1.5", "01", "1e3", "ten", " 2"]],
    ["LayerArns", ["check", ALL.LayerArns.replace(":3,", ","), `${ALL.LayerArns},check`]],
    ["EntryPoint", ["", "index", "index.", ".handler", "index.handler; true", "index.$handler", " index.handler"]],
    ["LogKeyArn", ["key", ALL.LogKeyArn.replace(":key/", ":alias/"), ` ${ALL.LogKeyArn}`, `${ALL.LogKeyArn},`]],
    ["ExemptUsers", [",", "a,,b", "a,", ",a", " ", "a, ,b", "\t"]],
    ["AlarmTopicArn", ["vpn-alarms", "me@example.com", anArn("123:vpn-alarms"), anArn(`${ACCOUNT}:alarms.fifo`)]],
    ["AlarmTopicArn", [anArn(`${ACCOUNT}:`), ` ${TOPIC}`, TOPIC.replace(":sns:", ":sqs:"), `${TOPIC},${TOPIC}`]],
    ["ConnectionLogGroup", ["a'b", 'a"b', "a b", "a\\b", "a`b", "a|b", "a$b", "a\n", "ä", "a".repeat(513)]],
    ["ConnectionLogGroup", ["arn:aws:logs:eu-central-1:123456789012:log-group:/vpn/connections", "/vpn/connections:*"]],
    ["LogRetentionDays", ["", "0", "2", "91", "forever"]],
    ["TakeoversPerHour", ["", "0", "1", "-6", "1.5", "six"]],
    ["PermissionsBoundaryArn", ["boundary", "arn:aws:iam::1:policy/b", `arn:aws:iam::${ACCOUNT}:role/boundary`]],
    ["PermissionsBoundaryArn", [`arn:aws:iam::${ACCOUNT}:policy/`, `arn:aws:iam::${ACCOUNT}:policy/a b`]],
  ])("%s refuses %j", (name, refused) => {
    for (const value of refused) {
      const create = () => createStack(template, { ...ALL, [name]: value });
      expect(create, value).toThrow(`the parameter ${name} must be`);
    }
  });

  test.each(["a", "ü", "用", "😀"])(
    "take no more exempt users than fit into the 4 KB that Lambda has for environment variables: of %s",
    (character) => {
      const withUsers = (characters: string) => createStack(template, { ...ALL, ExemptUsers: characters });
      const most = character.repeat(1_200 / character.length);
      expect(() => withUsers(`${most}${character}`)).toThrow("the parameter ExemptUsers must be");
      expect(Buffer.byteLength(JSON.stringify(environmentOf(withUsers(most))))).toBeLessThan(4_096);
    },
  );

  test("are all optional but the endpoint", () => {
    const { EndpointId: _, ...others } = ALL;
    expect(() => createStack(template, others)).toThrow("the parameter EndpointId must be");
  });

  test("take a topic of any partition", () => {
    for (const partition of ["aws", "aws-cn", "aws-us-gov", "aws-iso-b"]) {
      const AlarmTopicArn = TOPIC.replace("arn:aws:", `arn:${partition}:`);
      expect(() => createStack(template, { ...ALL, AlarmTopicArn }), partition).not.toThrow();
    }
  });

  test("take any name that CloudWatch Logs allows a log group", () => {
    for (const ConnectionLogGroup of ["a", "/aws/vpn_1/Prod.x-y#2", "a".repeat(512)]) {
      expect(() => createStack(template, { ...ALL, ConnectionLogGroup }), ConnectionLogGroup).not.toThrow();
    }
  });

  test("take no number of days that CloudWatch Logs does not take", () => {
    const days = template.Parameters.LogRetentionDays?.AllowedValues ?? [];
    expect(days).toContain(90);
    for (const LogRetentionDays of days.map(String)) createStack(template, { ...ALL, LogRetentionDays });
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

  test("name the lever that works at once; the slow one, and how slow it is, where the function does not answer", () => {
    const levers = Object.entries(propertiesByType(withAll, ALARM)).map(([name, properties]) => {
      const { AlarmDescription } = Object(properties);
      return [name, AlarmDescription.match(/LetEverybodyIn|TurnOff(?=\b.* up to four hours)/g)];
    });
    const both = ["LetEverybodyIn", "TurnOff"];
    expect(Object.fromEntries(levers.filter(([, lever]) => lever))).toStrictEqual({
      Denials: ["LetEverybodyIn"],
      UncheckedLogins: ["LetEverybodyIn"],
      Timeouts: both,
      InvalidResponses: both,
      OtherExecutionErrors: both,
      ThrottlingErrors: both,
      FailedServiceErrors: ["TurnOff"],
      SweepStopped: ["LetEverybodyIn"],
    });
  });

  test("each name the heading of the runbook that helps", () => {
    const headings = Object.entries(propertiesByType(withAll, ALARM)).map(([name, { AlarmDescription }]) => {
      const [, named = ""] = / ((?:see|See) [^.:]*) in src\/RUNBOOK\.md[.:]/.exec(String(AlarmDescription)) ?? [];
      return [name, [...named.matchAll(/"([^"]+)"/g)].map(([, heading]) => heading)];
    });
    const outage = ["EC2 or Lambda has an outage"];
    const gone = ["A role or the stack is gone"];
    expect(Object.fromEntries(headings)).toStrictEqual({
      Denials: ["Everybody is locked out", "One user is denied"],
      UncheckedLogins: outage,
      Timeouts: outage,
      InvalidResponses: ["Everybody is locked out"],
      OtherExecutionErrors: gone,
      ThrottlingErrors: outage,
      FailedServiceErrors: outage,
      SweepErrors: ["An alarm came"],
      SweepStopped: gone,
      UnnamedConnections: ["An alarm came"],
      Takeovers: ["The alarm Takeovers"],
    });
  });

  test("tell of the lever that was forgotten, with the way back and the log level that hides sweeps", () => {
    const { AlarmDescription } = propertiesOf(withAll, "SweepStopped");
    expect(AlarmDescription).toContain(` ${withAll.outputs.EnforceAgain} (`);
    expect(AlarmDescription).toContain(" a level above INFO");
  });

  test("say what helps against throttling, in this order: a reserve, a smaller user, a higher quota, the levers", () => {
    expect(propertiesOf(withAll, "ThrottlingErrors").AlarmDescription).toMatch(
      /put-function-concurrency.*ConcurrentExecutions.*Service Quotas.*LetEverybodyIn.*TurnOff/,
    );
  });

  test("tell the topic that they are over where that is asked for, and only there", () => {
    const withTopic = createStack(template, { ...ONLY_WHAT_IS_NEEDED, AlarmTopicArn: TOPIC });
    for (const [stack, told] of [
      [withTopic, undefined],
      [withAll, [TOPIC]],
    ] as const) {
      for (const { OKActions } of Object.values(propertiesByType(stack, ALARM))) expect(OKActions).toStrictEqual(told);
    }
  });

  test("cost what the parameter says, at 0.10 USD for each, 0.30 for a metric of the log and 0.50 for a rule", () => {
    const numberOf = (type: RegExp) => Object.keys(propertiesByType(withAll, type)).length;
    const price = numberOf(ALARM) * 0.1 + numberOf(/MetricFilter/) * 0.3 + numberOf(/InsightRule/) * 0.5;
    expect(template.Parameters.AlarmTopicArn?.Description).toContain(` about ${price.toFixed(2)} USD a month`);
  });

  test("are not there without a topic to tell", () => {
    expect(propertiesByType(byDefault, ALARM)).toStrictEqual({});
    expect(propertiesByType(byDefault, /MetricFilter|InsightRule/)).toStrictEqual({});
  });

  test("watch denials, logins let in unchecked, each failure of the handler, sweeps that fail or do not run, and names", () => {
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
      OKActions: [TOPIC],
    });
    const ofTheHandler = (metric: string) => ({
      ...alarm("AWS/ClientVPN", `ClientConnectHandler${metric}`, 1),
      Dimensions: [{ Name: "Endpoint", Value: ENDPOINT_ID }],
    });
    const NAMESPACE = "ClientVPNSessionHandler";
    const logMetric = (MetricName: string, MetricValue: string) => ({
      LogGroupName: "<HandlerLog>",
      FilterPattern: expect.any(String), // stack-queries.test.ts tries it
      MetricTransformations: [{ MetricNamespace: NAMESPACE, MetricName, MetricValue }],
    });
    expect(propertiesByType(withAll, /MetricFilter/)).toStrictEqual({
      Denial: logMetric("client-vpn-denials", "1"),
      UncheckedLogin: logMetric("client-vpn-unchecked-logins", "1"),
      LoggedSweep: logMetric("client-vpn-unnamed", "$.message.unnamed"),
    });
    expect(propertiesByType(withAll, ALARM)).toStrictEqual({
      UncheckedLogins: alarm(NAMESPACE, "client-vpn-unchecked-logins", 1),
      Denials: {
        ...alarm(NAMESPACE, "client-vpn-denials", 3),
        AlarmDescription: expect.stringContaining(`If their "endpointId" is not ${ENDPOINT_ID}, another endpoint has`),
      },
      Timeouts: ofTheHandler("Timeouts"),
      InvalidResponses: ofTheHandler("InvalidResponses"),
      OtherExecutionErrors: ofTheHandler("OtherExecutionErrors"),
      ThrottlingErrors: ofTheHandler("ThrottlingErrors"),
      FailedServiceErrors: ofTheHandler("FailedServiceErrors"),
      SweepErrors: {
        ...alarm("AWS/Lambda", "Errors", 3),
        AlarmDescription: expect.stringContaining("A login never fails in this way; one that crashes counts here too"),
        Dimensions: [{ Name: "FunctionName", Value: "<Handler>" }],
      },
      SweepStopped: {
        ...alarm(NAMESPACE, "client-vpn-unnamed", 1),
        Statistic: "SampleCount",
        ComparisonOperator: "LessThanThreshold",
        TreatMissingData: "breaching",
      },
      Takeovers: {
        AlarmDescription: expect.stringMatching(
          /9 times or more.*Users whose connections push each other out.*lock the/,
        ),
        Metrics: [
          {
            Id: "takeovers",
            Expression: 'INSIGHT_RULE_METRIC("<TakeoverRule.RuleName>", "MaxContributorValue")',
            Period: 3_600,
          },
        ],
        EvaluationPeriods: 1,
        Threshold: 9,
        ComparisonOperator: "GreaterThanOrEqualToThreshold",
        TreatMissingData: "notBreaching",
        AlarmActions: [TOPIC],
        OKActions: [TOPIC],
      },
      UnnamedConnections: {
        ...alarm(NAMESPACE, "client-vpn-unnamed", 0),
        Statistic: "Minimum",
        EvaluationPeriods: 3,
        ComparisonOperator: "GreaterThanThreshold",
      },
    });
  });
});
