/** JSON Schemas, as far as a form needs them. */

import { isRecord } from "@/lib/isRecord";

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

/** Returns the schema with each reference replaced by the part of `root` that it refers to. */
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

/** Returns the schemas of which a value must fit one: the alternatives, or the schema itself. */
export function alternatives(schema: Schema): Schema[] {
  return (schema.anyOf ?? [schema]).flatMap((one) => (one.anyOf ? alternatives(one) : [one]));
}

/** Returns the single values that the schema names, with null if it is allowed. */
export function literals(schema: Schema): unknown[] {
  return alternatives(schema).flatMap((one) => {
    if ("const" in one) return [one.const];
    if (one.type === "null") return [null];
    return one.enum ?? [];
  });
}

/** Returns whether the schema allows only one value, so that there is nothing to choose. */
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
