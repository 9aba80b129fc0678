/** Makes the fields of a form from the schema of an object, and turns the text in a field into a value. */

import { isRecord } from "@/lib/isRecord";

import { alternatives, isFixed, literals, type Schema } from "./schema";

type FieldKind = "switch" | "choice" | "group" | "pairs" | "texts" | "text";

export interface SchemaField {
  name: string;
  schema: Schema;
  kind: FieldKind;
  isRequired: boolean;
}

/**
 * Returns the fields of a form. It leaves out `type`, which names the form itself, and options with only one value.
 * Numbers come first, and fields that need more room come last.
 */
export function schemaFields(schema: Schema): SchemaField[] {
  return Object.entries(schema.properties ?? {})
    .filter(([name, one]) => name !== "type" && !isFixed(one))
    .map(([name, one]) => ({ name, schema: one, kind: kindOf(one), isRequired: schema.required?.includes(name) ?? false }))
    .sort((a, b) => positionOf(a) - positionOf(b));
}

const KINDS: readonly FieldKind[] = ["text", "choice", "switch", "texts", "pairs", "group"];

function positionOf({ kind, schema }: SchemaField): number {
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
  if (kinds.every(isListOfTexts)) return "texts";
  const named = literals(schema).length;
  return named > 2 || kinds.every((one) => "const" in one || one.enum) ? "choice" : "text";
}

/** Returns whether the list holds texts for people, which may have spaces and commas; names have no length. */
export function isListOfTexts({ type, items }: Schema): boolean {
  return type === "array" && items?.type === "string" && items.maxLength !== undefined;
}

/** Returns whether a choice also accepts values that the schema does not name. */
export function isOpen(schema: Schema): boolean {
  return alternatives(schema).some((one) => one.type !== "null" && !("const" in one) && !one.enum);
}

/** Returns the schema of the object that a group of fields makes. */
export function groupSchema(schema: Schema): Schema {
  return alternatives(schema).find((one) => one.properties) ?? schema;
}

/**
 * Returns the value that a text stands for. An empty text is undefined, so the default applies. A text that fits no
 * kind stays a text, which the check then refuses.
 */
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

/** Returns the object that lines such as `q_proj = 8` stand for; undefined if there are none. */
export function parsePairs(text: string, schema: Schema): Record<string, unknown> | undefined {
  const [valueSchema = {}] = Object.values(alternatives(schema).find((one) => one.patternProperties)?.patternProperties ?? {});
  const pairs = text.split("\n").flatMap((line) => {
    const [name = "", value = ""] = line.split(/[=:](.*)/);
    return name.trim() ? [[name.trim(), parse(value, valueSchema) ?? ""] as const] : [];
  });
  return pairs.length ? Object.fromEntries(pairs) : undefined;
}

export function writePairs(value: unknown): string {
  if (!isRecord(value)) return "";
  return Object.entries(value).map(([name, one]) => `${name} = ${write(one)}`).join("\n");
}

/** Returns the default as the placeholder of a field. If the default is null or missing, the description explains it. */
export function defaultText({ default: usual }: Schema): string {
  return usual == null || isRecord(usual) ? "" : write(usual);
}

/** Returns the texts of which each stands on a line of its own; undefined if there are none. */
export function parseTexts(text: string): string[] | undefined {
  const texts = text.split("\n").map((line) => line.trim().replaceAll("\\n", "\n")).filter(Boolean);
  return texts.length ? texts : undefined;
}

export function writeTexts(value: unknown): string {
  return Array.isArray(value) ? value.map((one) => String(one).replaceAll("\n", "\\n")).join("\n") : "";
}
