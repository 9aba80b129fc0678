import { isRecord } from "@/lib/isRecord";

const DIGITS = 6; // of a fraction: a setting that was computed may have sixteen

/** Returns the leaves of nested settings with their paths, such as `["adapter.r", "16"]`. A list is one leaf. */
export function flatten(value: unknown, path = ""): [string, string][] {
  if (isRecord(value) && Object.keys(value).length) {
    return Object.entries(value).flatMap(([name, inner]) => flatten(inner, path ? `${path}.${name}` : name));
  }
  return [[path, typeof value === "string" ? value : compactJson(value)]];
}

/** Returns JSON in which no fraction has more than six significant digits. Whole numbers, such as a seed, stay exact. */
export function compactJson(value: unknown): string {
  return JSON.stringify(value, (_, one: unknown) => (isFraction(one) ? Number(one.toPrecision(DIGITS)) : one));
}

function isFraction(value: unknown): value is number {
  return typeof value === "number" && !Number.isInteger(value);
}
