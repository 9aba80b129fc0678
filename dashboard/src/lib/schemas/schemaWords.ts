/** Says in words which values a JSON Schema allows. */

import { alternatives, literals, type Schema } from "./schema";
import { isListOfTexts } from "./schemaFields";

/** What the API's patterns allow. A reader of the form gets these words, never the pattern. */
export const PATTERN_WORDS: ReadonlyMap<string, string> = new Map([
  ["^[A-Za-z0-9_]{1,256}$", "letters, digits and underscores"],
  ["^[a-zA-Z0-9_-]{1,64}$", "up to 64 letters, digits, dashes and underscores"],
  ["^[A-Za-z0-9_.]{1,256}$", "letters, digits, dots and underscores"],
  ["^[A-Za-z0-9._-]+$", "letters, digits, dots, dashes and underscores, without spaces"],
  ["^[A-Z][A-Z0-9_]{0,63}$", "a name such as WANDB_KEY, of capital letters, digits and underscores"],
  ["^[^/\\\\#?%:]+$", "a text without slashes, backslashes, # ? % and colons"],
  ["^(db[1-8]|sym[2-8]|coif[1-5])$", "a wavelet from db1 to db8, sym2 to sym8 or coif1 to coif5"],
  ["^pissa_niter_[1-9][0-9]{0,2}$", "pissa_niter_ with a number from 1 to 999, such as pissa_niter_4"],
]);

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
      if (isListOfTexts(schema)) return "one text on each line, with \\n for a line break in it";
      return `${(schema.items ? words(schema.items) : "values").replace("a whole number", "whole numbers")}, with commas between`;
    case "object":
      return `lines such as ${exampleOfPair(schema)}`;
  }
  if (schema.pattern) return `${PATTERN_WORDS.get(schema.pattern) ?? "a text of the allowed form"}${longest(schema)}`;
  return schema.maxLength === undefined ? "names" : `a text${longest(schema)}`;
}

function exampleOfPair({ patternProperties }: Schema): string {
  const [value] = Object.values(patternProperties ?? {});
  if (value?.type === "string") return "x-key = text";
  return `q_proj = ${value ? "8" : "text"}`;
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
