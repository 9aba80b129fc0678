/** A JSON Schema as a form reads it: what can be chosen, and among what. */

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
