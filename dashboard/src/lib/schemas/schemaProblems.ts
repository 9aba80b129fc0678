/** Finds what is wrong with a value, and says it with the path of the value and in the words of its schema. */

import { type OutputUnit, type Schema as Checkable, Validator } from "@cfworker/json-schema";

import { isRecord } from "@/lib/isRecord";

import { alternatives, type Schema } from "./schema";
import { words } from "./schemaWords";

/** A fault in a request. `path` has dots, like the API's `param`. */
export interface Problem {
  path: string;
  message: string;
}

/** A finding of the validator, with the value and the schema that it is about. */
interface Finding extends OutputUnit {
  instance: unknown;
  /** The schema that holds the keyword. */
  schema: Schema;
}

export function problems(value: unknown, schema: Schema, path: string): Problem[] {
  const { errors } = new Validator(schema as Checkable, "2020-12", false).validate(value);
  const findings = errors.map((error): Finding => {
    const within = error.keywordLocation.replace(/\/[^/]*$/, "");
    return { ...error, instance: follow(value, error.instanceLocation), schema: follow(schema, within) as Schema };
  });
  const shown = findings.filter((finding) => !isWrapper(finding) && !findings.some((other) => standsFor(other, finding)));
  return unique(shown.flatMap((finding) => problemsOf(finding, path)));
}

function follow(root: unknown, pointer: string): unknown {
  const found = (at: unknown, name: string) => (at as Record<string, unknown> | undefined)?.[name];
  return namesOf(pointer).reduce(found, root);
}

const namesOf = (pointer: string) =>
  pointer.split("/").slice(1).map((name) => decodeURIComponent(name).replaceAll("~1", "/").replaceAll("~0", "~"));

const WRAPPERS = ["properties", "patternProperties", "additionalProperties", "propertyNames"];

/** Returns whether the finding only says that something inside the value is wrong, which has its own finding. */
function isWrapper(finding: Finding): boolean {
  return WRAPPERS.includes(finding.keyword) || (finding.keyword === "anyOf" && isAboutObject(finding));
}

/** Returns whether the value is an object. Then the alternatives that are objects say what is wrong inside it. */
const isAboutObject = ({ instance, schema }: Finding) => isRecord(instance) && alternatives(schema).some(isObject);

const isObject = ({ type }: Schema) => type === "object";

/** Returns whether `whole` replaces `part`: a list, or a choice of alternatives, gets one message as a whole. */
function standsFor(whole: Finding, part: Finding): boolean {
  if (part === whole || !`${part.instanceLocation}/`.startsWith(`${whole.instanceLocation}/`)) return false;
  const covers = (location: string) => part.keywordLocation.startsWith(`${location}/`);
  if (whole.keyword === "items") return covers(whole.keywordLocation);
  if (whole.keyword !== "anyOf") return false;
  if (!isAboutObject(whole)) return covers(whole.keywordLocation);
  const isOther = (one: Schema) => !alternatives(one).some(isObject);
  return (whole.schema.anyOf ?? []).some((one, at) => isOther(one) && covers(`${whole.keywordLocation}/${at}`));
}

function problemsOf({ keyword, keywordLocation, instanceLocation, instance, schema }: Finding, path: string): Problem[] {
  const names = namesOf(instanceLocation);
  const fullPath = [path, ...names].join(".");
  if (keyword === "required") {
    const missing = (schema.required ?? []).filter((name) => !(name in (instance as object)));
    return missing.map((name) => ({ path: `${fullPath}.${name}`, message: "It is required." }));
  }
  if (keyword === "false") return [{ path: fullPath, message: "There is no such option." }];
  if (keyword === "maxProperties") return [{ path: fullPath, message: `There may be at most ${schema.maxProperties}.` }];
  if (keywordLocation.includes("/propertyNames/")) {
    const message = `The name ${shortened(names.at(-1) ?? "")} must be ${words(schema)}.`;
    return [{ path: [path, ...names.slice(0, -1)].join("."), message }];
  }
  return [{ path: fullPath, message: `It must be ${words(schema)}.` }];
}

const shortened = (name: string) => (name.length > 20 ? `${name.slice(0, 20)}…` : name);

function unique(found: readonly Problem[]): Problem[] {
  return [...new Map(found.map((problem) => [`${problem.path} ${problem.message}`, problem])).values()];
}
