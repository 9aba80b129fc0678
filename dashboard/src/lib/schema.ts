/**
 * The part of JSON Schema that the API writes: what a value may be, as a check and in words.
 *
 * Validators of the whole standard compile schemas to code, which the content security policy forbids.
 */

export interface Schema {
  $ref?: string;
  type?: string;
  const?: unknown;
  enum?: unknown[];
  anyOf?: Schema[];
  oneOf?: Schema[];
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  exclusiveMaximum?: number;
  minLength?: number;
  maxLength?: number;
  pattern?: string;
  items?: Schema;
  minItems?: number;
  maxItems?: number;
  properties?: Record<string, Schema>;
  patternProperties?: Record<string, Schema>;
  additionalProperties?: boolean | Schema;
  propertyNames?: Schema;
  maxProperties?: number;
  required?: string[];
  default?: unknown;
  description?: string;
}

/** What is wrong with a value; `path` has dots, as the API's `param`. */
export interface Problem {
  path: string;
  message: string;
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The schema with all that it refers to in `root` in its place. */
export function expand(schema: Schema, root: unknown): Schema {
  if (schema.$ref) {
    const { $ref, ...beside } = schema;
    return { ...expand(target($ref, root), root), ...beside };
  }
  const inner = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(inner);
    if (!isRecord(value)) return value;
    if (typeof value.$ref === "string") return expand(value as Schema, root);
    return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, inner(one)]));
  };
  return inner(schema) as Schema;
}

function target(ref: string, root: unknown): Schema {
  const parts = ref.replace(/^#\//, "").split("/");
  const found = parts.reduce((at, part) => (isRecord(at) ? at[part] : undefined), root);
  return (found ?? {}) as Schema;
}

/** The schema itself, or those of which a value must fit one. */
export function alternatives(schema: Schema): Schema[] {
  return (schema.anyOf ?? [schema]).flatMap((one) => (one.anyOf ? alternatives(one) : [one]));
}

/** The single values that are named; null among them. */
export function literals(schema: Schema): unknown[] {
  return alternatives(schema).flatMap((one) => {
    if ("const" in one) return [one.const];
    if (one.type === "null") return [null];
    return one.enum ?? [];
  });
}

/** Whether there is nothing to choose. */
export function isFixed(schema: Schema): boolean {
  return alternatives(schema).every(
    (one) =>
      one.type === "null" ||
      "const" in one ||
      one.enum?.length === 1 ||
      one.maxItems === 0 ||
      one.maxProperties === 0 ||
      (one.minimum !== undefined && one.minimum === one.maximum),
  ) && alternatives(schema).length === 1;
}

export function problems(value: unknown, schema: Schema, path: string): Problem[] {
  const found = alternatives(schema).map((one) => problemsOfOne(value, one, path));
  if (found.some((list) => list.length === 0)) return [];
  // Of an object, the alternative that is one tells what is wrong within.
  const within = isRecord(value) ? found[alternatives(schema).findIndex(isObject)] : undefined;
  return within ?? [{ path, message: `It must be ${words(schema)}.` }];
}

const isObject = (schema: Schema) => schema.type === "object";

function problemsOfOne(value: unknown, schema: Schema, path: string): Problem[] {
  if (isObject(schema) && isRecord(value)) return problemsOfObject(value, schema, path);
  return fits(value, schema) ? [] : [{ path, message: `It must be ${words(schema)}.` }];
}

function problemsOfObject(value: Record<string, unknown>, schema: Schema, path: string): Problem[] {
  const unknown = schema.patternProperties ? "Such a name is not taken." : "There is no such option.";
  const missing = (schema.required ?? []).filter((name) => !(name in value));
  const inner = Object.entries(value).flatMap(([name, one]) => {
    const known = memberSchema(name, schema);
    const place = `${path}.${name}`;
    return known ? problems(one, known, place) : [{ path: place, message: unknown }];
  });
  const most = schema.maxProperties ?? Infinity;
  const many = Object.keys(value).length > most ? [{ path, message: `There may be at most ${most}.` }] : [];
  const long = Object.keys(value).filter((name) => !fits(name, schema.propertyNames ?? {}));
  return [
    ...missing.map((name) => ({ path: `${path}.${name}`, message: "It is needed." })),
    ...many,
    ...long.map((name) => ({ path, message: `The name ${name.slice(0, 20)}… is too long.` })),
    ...inner,
  ];
}

function memberSchema(name: string, schema: Schema): Schema | undefined {
  const known = schema.properties?.[name];
  if (known) return known;
  const pattern = Object.keys(schema.patternProperties ?? {}).find((one) => new RegExp(one).test(name));
  if (pattern !== undefined) return schema.patternProperties?.[pattern];
  return isRecord(schema.additionalProperties) ? schema.additionalProperties : undefined;
}

function fits(value: unknown, schema: Schema): boolean {
  if ("const" in schema) return value === schema.const;
  if (schema.enum) return schema.enum.includes(value);
  switch (schema.type) {
    case "null":
      return value === null;
    case "boolean":
      return typeof value === "boolean";
    case "integer":
      return Number.isInteger(value) && isWithin(value as number, schema);
    case "number":
      return typeof value === "number" && Number.isFinite(value) && isWithin(value, schema);
    case "string":
      return typeof value === "string" && isWritten(value, schema);
    case "array":
      return Array.isArray(value) && isListed(value, schema);
    case undefined:
      return typeof value !== "string" || isWritten(value, schema);
  }
  return false;
}

function isWithin(value: number, schema: Schema): boolean {
  return (
    value >= (schema.minimum ?? -Infinity) &&
    value <= (schema.maximum ?? Infinity) &&
    value > (schema.exclusiveMinimum ?? -Infinity) &&
    value < (schema.exclusiveMaximum ?? Infinity)
  );
}

function isWritten(value: string, schema: Schema): boolean {
  const length = [...value].length;
  if (length < (schema.minLength ?? 0) || length > (schema.maxLength ?? Infinity)) return false;
  return schema.pattern === undefined || new RegExp(schema.pattern).test(value);
}

function isListed(value: unknown[], schema: Schema): boolean {
  if (value.length < (schema.minItems ?? 0) || value.length > (schema.maxItems ?? Infinity)) return false;
  return value.every((one) => problems(one, schema.items ?? {}, "").length === 0);
}

/** What a schema allows, such as "a whole number from 1 to 256, or auto". */
export function words(schema: Schema): string {
  const named = literals(schema).filter((value) => value !== null).map(String);
  const kinds = alternatives(schema).map(wordsOfKind).filter(Boolean);
  const all = [...kinds, ...named];
  return all.length > 1 ? `${all.slice(0, -1).join(", ")} or ${all.at(-1)}` : (all[0] ?? "something else");
}

function wordsOfKind(schema: Schema): string {
  if ("const" in schema || schema.enum || schema.type === "null") return "";
  switch (schema.type) {
    case "integer":
      return `a whole number${range(schema)}`;
    case "number":
      return `a number${range(schema)}`;
    case "boolean":
      return "true or false";
    case "array":
      return `${(schema.items ? words(schema.items) : "values").replace("a whole number", "whole numbers")}, with commas between`;
    case "object":
      return `lines such as q_proj = ${schema.patternProperties ? "8" : "text"}`;
  }
  if (schema.pattern === "^[A-Za-z0-9._-]+$") return `letters, digits, dots, dashes and underscores${longest(schema)}`;
  if (schema.pattern) return `what matches ${schema.pattern}`;
  return schema.maxLength === undefined ? "names" : `a text${longest(schema)}`;
}

const longest = ({ maxLength }: Schema) => (maxLength === undefined ? "" : `, at most ${maxLength} characters long`);

function range({ minimum, maximum, exclusiveMinimum, exclusiveMaximum }: Schema): string {
  if (minimum !== undefined && maximum !== undefined) return ` from ${minimum} to ${maximum}`;
  const bounds = [
    minimum !== undefined && `of at least ${minimum}`,
    exclusiveMinimum !== undefined && `above ${exclusiveMinimum}`,
    maximum !== undefined && `at most ${maximum}`,
    exclusiveMaximum !== undefined && `below ${exclusiveMaximum}`,
  ].filter(Boolean);
  return bounds.length ? ` ${bounds.join(" and ")}` : "";
}
