import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { inflateRawSync } from "node:zlib";
import { unzipSync } from "fflate";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { bundle, checkBudget, SDK_STEPS } from "../../build.mjs";
import { ALLOWED } from "../helpers/answers.ts";
import { builtForTest, statuses, useEc2 } from "../helpers/built.ts";
import { connectEvent } from "../helpers/events.ts";
import { DIST, DIST_FILES } from "../helpers/lambda.ts";

const ec2 = useEc2();
const BUILD = fileURLToPath(new URL("../../build.mjs", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "client-vpn-build-"));

afterAll(() => rmSync(folder, { recursive: true }));

describe("the build", () => {
  // That it gives the same bytes again is in unbuilt.test.ts, which builds elsewhere.
  test("prints the sizes of its files, and the zip's hash", () => {
    const printed = inject("printedByBuild");
    for (const name of DIST_FILES) {
      const { size } = statSync(`${DIST}${name}`);
      expect(printed).toMatch(new RegExp(`^${name} +${size.toLocaleString("en")} bytes`, "m"));
    }
    const zip = readFileSync(`${DIST}function.zip`);
    expect(printed).toContain(createHash("sha256").update(zip).digest("base64"));
  });

  test("says in a sentence that it cannot write, and fails", () => {
    writeFileSync(join(folder, "file"), "");
    const { status, stdout, stderr } = spawnSync(process.execPath, [BUILD, join(folder, "file", "dist")], {
      encoding: "utf8",
    });
    expect([status, stdout]).toStrictEqual([1, ""]);
    expect(stderr).toMatch(/^ENOTDIR: [^\n]*\n$/);
  });
});

describe("the steps that make the bundle small", () => {
  const STRANGER = "export const somethingElse = 1;\n";

  test.each(SDK_STEPS)("throw on a module that they do not know: $name", ({ rewrite }) => {
    expect(() => rewrite(STRANGER)).toThrow(/^there is no /);
  });

  test("stop the build on modules that they do not know, and say so of each", async () => {
    const steps = SDK_STEPS.map((step) => ({ ...step, rewrite: () => step.rewrite(STRANGER) }));
    const error: unknown = await bundle(steps).catch((thrown) => thrown);
    for (const { name } of steps) expect(String(error)).toContain(`cannot ${name}: there is no `);
  });

  test("stop the build on a computed key that is not a constant of its file", () => {
    const code = 'const _xN = "xmlName";\nexport var Shape$ = [3, { [_xN]: 1, [_eQN]: 2 }];\n';
    expect(() => SDK_STEPS[0]?.rewrite(code)).toThrow("the key [_eQN]: is not a string constant of the file");
  });

  test("write computed keys as the literals that they stand for", () => {
    const code = 'const _xN = "xmlName";\nexport var Shape$ = [3, { [_xN]: _xN }];\n';
    expect(SDK_STEPS[0]?.rewrite(code)).toBe('const _xN = "xmlName";\nexport var Shape$ = [3, { "xmlName": _xN }];\n');
  });

  test("stop the build when there is nothing left for them to do", async () => {
    const idle = {
      name: "do what is no longer needed",
      module: "@smithy/core/gone.js",
      rewrite: (code: string) => code,
    };
    await expect(bundle([...SDK_STEPS, idle])).rejects.toThrow(
      "cannot do what is no longer needed: nothing imports @smithy/core/gone.js",
    );
  });

  describe("without one of them", () => {
    const bundles = new Map<string, Awaited<ReturnType<typeof bundle>>>();

    beforeAll(async () => {
      const without = async (step: (typeof SDK_STEPS)[number]) =>
        bundles.set(step.name, await bundle(SDK_STEPS.filter((other) => other !== step)));
      await Promise.all(SDK_STEPS.map(without));
    });

    test.each(SDK_STEPS)("the bundle holds more: $name", ({ name }) => {
      const { code } = bundles.get(name) ?? expect.fail();
      expect(code.length - statSync(`${DIST}index.cjs`).size).toBeGreaterThan(100);
    });

    test("a bundle over its budget stops the build with what is largest", () => {
      const { code, metafile } = bundles.get("write the schema's keys as literals") ?? expect.fail();
      expect(() => checkBudget("index.cjs", code.length, code.length, metafile)).not.toThrow();
      expect(() => checkBudget("index.cjs", code.length, 130_000, metafile)).toThrow(
        /^index\.cjs has \d+ bytes, more than its budget of 130000\. .*\n\d+ .*schemas_0\.js/,
      );
    });
  });
});

describe("index.cjs", () => {
  const WAYS = {
    "has redefined": 'Object.defineProperty(built, "handler", { value: wrapped });',
    "has assigned": "built.handler = wrapped;",
  };

  test.each(Object.entries(WAYS))("answers through what a tracing layer %s in its place", async (way, replace) => {
    const file = join(folder, `${way.replaceAll(" ", "-")}.cjs`);
    writeFileSync(
      file,
      `const built = require(${JSON.stringify(`${DIST}index.cjs`)});
      const { handler } = built;
      const wrapped = async (...args) => {
        console.log("a span");
        return await handler(...args);
      };
      ${replace}
      module.exports = built;`,
    );
    const older = ec2.addConnection();
    const lambda = await builtForTest(ec2.env, file);
    const { response, log } = await lambda.invoke(connectEvent());
    expect(response).toStrictEqual(ALLOWED);
    expect(older.status).toBe("terminated");
    expect(log).toMatchObject([{ message: ["a span"] }, { level: "info" }]);
  });
});

describe("function.zip", () => {
  const zip = readFileSync(`${DIST}function.zip`);

  test("holds index.cjs alone, at its root", () => {
    const files = unzipSync(zip);
    expect(Object.keys(files)).toStrictEqual(["index.cjs"]);
    expect(readFileSync(`${DIST}index.cjs`).equals(files["index.cjs"] ?? new Uint8Array())).toBe(true);
  });

  test("is a zip to others than its writer, and its file readable by Lambda's user", () => {
    // Local file header and central directory as in PKWARE's APPNOTE, 4.3.7 and 4.3.12.
    expect(zip.readUInt32LE(0)).toBe(0x04034b50);
    const dataStart = 30 + zip.readUInt16LE(26) + zip.readUInt16LE(28);
    const data = inflateRawSync(zip.subarray(dataStart, dataStart + zip.readUInt32LE(18)));
    expect(data.equals(readFileSync(`${DIST}index.cjs`))).toBe(true);
    const directory = zip.readUInt32LE(zip.length - 6);
    expect(zip.readUInt32LE(directory)).toBe(0x02014b50);
    expect((zip.readUInt32LE(directory + 38) >>> 16).toString(8)).toBe("100644");
  });

  test("loads where there is no node_modules, and answers", async () => {
    const file = join(folder, "index.cjs");
    writeFileSync(file, unzipSync(zip)["index.cjs"] ?? "");
    const [older, stranger] = [ec2.addConnection(), ec2.addConnection({ username: "bob" })];
    const lambda = await builtForTest(ec2.env, file);
    expect((await lambda.invoke(connectEvent())).response).toStrictEqual(ALLOWED);
    expect(statuses([older, stranger])).toStrictEqual(["terminated", "active"]);
  });
});

describe("paste.mjs", () => {
  const code = readFileSync(`${DIST}paste.mjs`, "utf8");

  test("is a few hundred readable lines, comments included, that import nothing but Node and the SDK", () => {
    expect(code.split("\n").length).toBeLessThan(680);
    expect(Math.max(...code.split("\n").map((line) => line.length))).toBeLessThan(180);
    expect(code).toContain("Two empty names are not the same user");
    const imports = [...code.matchAll(/from "([^"]+)"/g)].map(([, module]) => module);
    expect(imports).toStrictEqual(["node:crypto", "node:timers/promises", "node:util", "@aws-sdk/client-ec2"]);
  });
});
