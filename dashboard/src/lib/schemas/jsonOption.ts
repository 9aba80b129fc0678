/** Options beside the hyperparameters of an objective. Most are written as JSON, such as a grader. */

import { isRecord } from "@/lib/isRecord";
import { itemProblems, itemSchema } from "./listOption";
import { alternatives, type Schema } from "./schema";
import { type Problem, problems } from "./schemaProblems";

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

/** Returns what is wrong with options. The service alone checks what is in an option that is written as JSON. */
export function optionProblems(values: Readonly<Record<string, unknown>>, schema: Schema, path: string): Problem[] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, option]) => {
    const value = values[name];
    const at = `${path}.${name}`;
    if (value === undefined) return schema.required?.includes(name) ? [{ path: at, message: "It is required." }] : [];
    const item = itemSchema(option);
    if (item) return itemProblems(value, item, at);
    if (!isWrittenAsJson(option)) return problems(value, option, at);
    return isRecord(value) ? [] : [{ path: at, message: `It must be a JSON object. ${whatIsWrong(value)}`.trim() }];
  });
}

/** Returns whether the option has values that are objects: only they have no field of their own. */
function isWrittenAsJson(option: Schema): boolean {
  return alternatives(option).some(({ type }) => type === undefined || type === "object");
}

function whatIsWrong(value: unknown): string {
  try {
    JSON.parse(String(value));
    return "";
  } catch (error) {
    return error instanceof Error ? `${error.message}.` : "";
  }
}
