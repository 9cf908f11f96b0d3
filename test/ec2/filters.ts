import { ec2Error } from "./faults.ts";

export interface Filter {
  name: "username" | "connection-id";
  values: string[];
}

/** Returns the filters of a request, as they came in its form. */
export function filtersFrom(params: URLSearchParams): Filter[] {
  const filters: Filter[] = [];
  for (let f = 1; params.has(`Filter.${f}.Name`); f++) {
    const name = params.get(`Filter.${f}.Name`);
    if (name !== "username" && name !== "connection-id") {
      throw ec2Error(400, "InvalidParameterValue", `The filter '${name}' is invalid`);
    }
    const values = new Set<string>();
    for (let v = 1; params.has(`Filter.${f}.Value.${v}`); v++) values.add(params.get(`Filter.${f}.Value.${v}`) ?? "");
    if (values.size > 200) throw ec2Error(400, "FilterLimitExceeded", "The maximum number of values is 200");
    filters.push({ name, values: [...values] });
  }
  return filters;
}

/** EC2's filter language: `*` any run of characters, `?` one character, and a backslash before what is meant literally. */
export function wildcardMatcher(value: string): (text: string) => boolean {
  const source = value.replace(/\\(.)|[\s\S]/gu, (character, escaped: string | undefined) => {
    if (escaped === undefined && character === "*") return ".*";
    if (escaped === undefined && character === "?") return ".";
    return `\\u{${(escaped ?? character).codePointAt(0)?.toString(16)}}`;
  });
  const pattern = new RegExp(`^${source}$`, "su");
  return (text) => pattern.test(text);
}
