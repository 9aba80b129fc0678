import { isRecord } from "@/lib/isRecord";

/** Returns the leaves of nested settings with their paths, such as `["adapter.r", "16"]`. A list is one leaf. */
export function flatten(value: unknown, path = ""): [string, string][] {
  if (isRecord(value) && Object.keys(value).length) {
    return Object.entries(value).flatMap(([name, inner]) => flatten(inner, path ? `${path}.${name}` : name));
  }
  return [[path, typeof value === "string" ? value : JSON.stringify(value)]];
}
