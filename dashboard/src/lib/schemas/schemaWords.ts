/** Says in words which values a JSON Schema allows. */

import { alternatives, literals, type Schema } from "./schema";

/** Returns the allowed values in words, such as "a whole number from 1 to 256 or auto". */
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
  if (schema.pattern) return `a text that matches ${schema.pattern}`;
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
