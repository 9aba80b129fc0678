/** Options that are lists of objects, such as tools. A form shows the fields of each object. */

import { isRecord } from "@/lib/isRecord";

import { alternatives, type Schema } from "./schema";
import { schemaFields } from "./schemaFields";
import { type Problem, problems } from "./schemaProblems";

/** Returns the schema of the objects in a list, or null if the option is another one. */
export function itemSchema(option: Schema): Schema | null {
  const items = alternatives(option).find(({ type }) => type === "array")?.items;
  return items?.properties ? items : null;
}

export function itemsOf(value: unknown): Record<string, unknown>[] {
  return Array.isArray(value) ? value.filter(isRecord) : [];
}

/** Returns what is wrong with each object of a list. The path of an object ends with its position. */
export function itemProblems(value: unknown, schema: Schema, path: string): Problem[] {
  return itemsOf(value).flatMap((item, at) => problems(item, schema, `${path}.${at}`));
}

/** Returns the path of each field of each object. */
export function itemPaths(value: unknown, schema: Schema, path: string): string[] {
  return itemsOf(value).flatMap((_, at) => schemaFields(schema).map(({ name }) => `${path}.${at}.${name}`));
}
