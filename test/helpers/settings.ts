import { expect, inject } from "vitest";

/** Asserts that a place has each setting of the handler and no other; where not, says which. */
export function expectEachSetting(names: string[], place: string): void {
  const settings = inject("settings");
  const missing = settings.filter((name) => !names.includes(name));
  const unknown = names.filter((name) => !settings.includes(name));
  expect(missing, `${place}: settings of the handler that are not there`).toStrictEqual([]);
  expect(unknown, `${place}: settings that the handler does not have`).toStrictEqual([]);
}
