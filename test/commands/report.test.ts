import { expect, onTestFinished, test, vi } from "vitest";
import { table } from "./report.ts";

test("a table has its texts to the left and its numbers to the right, and no spaces at the ends", () => {
  const log = vi.spyOn(console, "log").mockImplementation(() => {});
  onTestFinished(() => log.mockRestore());
  table(
    ["what", "of whom", "ms"],
    [
      ["a login", "alice", "7"],
      ["a sweep", "", ""],
    ],
    2,
  );
  expect(log.mock.calls.flat()).toStrictEqual(["what     of whom  ms", "a login  alice     7", "a sweep"]);
});
