/** Options whose value the author writes as JSON, such as a grader. */

import { isRecord } from "@/lib/isRecord";
import type { Schema } from "./schema";
import type { Problem } from "./schemaProblems";

/** Returns the value that a text stands for: undefined if it is empty, and the text itself if it is not JSON. */
export function readJson(text: string): unknown {
  if (!text.trim()) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

export function writeJson(value: unknown): string {
  return value === undefined || typeof value === "string" ? (value ?? "") : JSON.stringify(value, null, 2);
}

/** Returns the options that are missing or are not JSON objects; a text may be any. The service checks the rest. */
export function jsonProblems(values: Readonly<Record<string, unknown>>, schema: Schema, path: string): Problem[] {
  return Object.keys(schema.properties ?? {}).flatMap((name) => {
    const value = values[name];
    if (value === undefined) return schema.required?.includes(name) ? [{ path: `${path}.${name}`, message: "It is required." }] : [];
    return isRecord(value) || schema.properties?.[name]?.type === "string" ? [] : [{ path: `${path}.${name}`, message: `It must be a JSON object. ${whatIsWrong(value)}`.trim() }];
  });
}

function whatIsWrong(value: unknown): string {
  try {
    JSON.parse(String(value));
    return "";
  } catch (error) {
    return error instanceof Error ? `${error.message}.` : "";
  }
}
