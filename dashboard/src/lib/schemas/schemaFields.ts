/** A form out of an object's schema, and what somebody writes in a field as a value. */

import { alternatives, isFixed, isRecord, literals, type Schema } from "./schema";

type FieldKind = "switch" | "choice" | "group" | "pairs" | "text";

export interface SchemaField {
  name: string;
  schema: Schema;
  kind: FieldKind;
  needed: boolean;
}

/**
 * What can be chosen: `type` says which form it is, and an option with one value is none. Numbers come first,
 * what takes more room last.
 */
export function schemaFields(schema: Schema): SchemaField[] {
  return Object.entries(schema.properties ?? {})
    .filter(([name, one]) => name !== "type" && !isFixed(one))
    .map(([name, one]) => ({ name, schema: one, kind: kindOf(one), needed: schema.required?.includes(name) ?? false }))
    .sort((a, b) => place(a) - place(b));
}

const KINDS: readonly FieldKind[] = ["text", "choice", "switch", "pairs", "group"];

function place({ kind, schema }: SchemaField): number {
  return KINDS.indexOf(kind) + (kind === "text" && !isNumeric(schema) ? 0.5 : 0);
}

export function isNumeric(schema: Schema): boolean {
  return alternatives(schema).some(({ type }) => type === "integer" || type === "number");
}

function kindOf(schema: Schema): FieldKind {
  const kinds = alternatives(schema).filter((one) => one.type !== "null");
  if (kinds.every((one) => one.type === "boolean")) return "switch";
  if (kinds.some((one) => one.properties)) return "group";
  if (kinds.some((one) => one.type === "object")) return "pairs";
  const named = literals(schema).length;
  return named > 2 || kinds.every((one) => "const" in one || one.enum) ? "choice" : "text";
}

/** Of a choice: whether other values than those named are taken. */
export function isOpen(schema: Schema): boolean {
  return alternatives(schema).some((one) => one.type !== "null" && !("const" in one) && !one.enum);
}

/** The object's schema behind a group. */
export function groupSchema(schema: Schema): Schema {
  return alternatives(schema).find((one) => one.properties) ?? schema;
}

/** Nothing is undefined: the default holds. What fits no kind stays text, for the check to refuse. */
export function parse(text: string, schema: Schema): unknown {
  const written = text.trim();
  if (written === "") return undefined;
  const named = literals(schema).find((value) => String(value) === written);
  if (named !== undefined) return named;
  const number = Number(written);
  if (isNumeric(schema) && Number.isFinite(number)) return number;
  const list = alternatives(schema).find(({ type }) => type === "array");
  if (list) return written.split(/[\s,]+/).filter(Boolean).map((item) => parse(item, list.items ?? {}));
  return written;
}

export function write(value: unknown): string {
  if (value === undefined) return "";
  return Array.isArray(value) ? value.join(", ") : String(value);
}

/** `q_proj = 8`, a line each. */
export function parsePairs(text: string, schema: Schema): Record<string, unknown> | undefined {
  const [member = {}] = Object.values(alternatives(schema).find((one) => one.patternProperties)?.patternProperties ?? {});
  const pairs = text.split("\n").flatMap((line) => {
    const [name = "", value = ""] = line.split(/[=:](.*)/);
    return name.trim() ? [[name.trim(), parse(value, member) ?? ""] as const] : [];
  });
  return pairs.length ? Object.fromEntries(pairs) : undefined;
}

export function writePairs(value: unknown): string {
  if (!isRecord(value)) return "";
  return Object.entries(value).map(([name, one]) => `${name} = ${write(one)}`).join("\n");
}

/** The default as a field's placeholder; null and nothing are said by the description. */
export function defaultText({ default: usual }: Schema): string {
  return usual == null || isRecord(usual) ? "" : write(usual);
}
