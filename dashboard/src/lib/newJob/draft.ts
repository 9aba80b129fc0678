/** A draft of a job: the settings that its author has made, without defaults. */

import { isRecord } from "@/lib/isRecord";
import type { Method } from "@/lib/schemas/method";
import type { Schema } from "@/lib/schemas/schema";
import { optionProblems } from "@/lib/schemas/jsonOption";
import { itemPaths, itemSchema } from "@/lib/schemas/listOption";
import { groupSchema, schemaFields } from "@/lib/schemas/schemaFields";
import { type Problem, problems } from "@/lib/schemas/schemaProblems";
import type { CreateJob } from "@/types/api";

import type { JobSchemas } from "./jobSchemas";
import { sweepProblems, type Tried, triedValues } from "./sweepDraft";
import { type Integrations, settingsPath, type Tracker, trackerProblems, trackerSettings } from "./trackers";

export type Values = Readonly<Record<string, unknown>>;
type TopName = "suffix" | "seed" | "validation_split" | "augmentation";

export interface Draft {
  model: string;
  training_file: string;
  validation_file: string;
  /** `suffix`, `seed`, `validation_split` and `augmentation`. */
  top: Values;
  metadata: readonly (readonly [string, string])[];
  objective: string;
  /** The hyperparameters of all objectives that the author looked at. Those of the chosen objective are sent. */
  hyperparameters: Values;
  /** The options beside the hyperparameters of any objective, such as a grader. A text is JSON that is not yet right. */
  beside: Values;
  adapter: string;
  /** The options by adapter type, so that a look at another adapter loses nothing. */
  options: Readonly<Record<string, Values>>;
  training: Values;
  integrations: Integrations;
  /** How the result is evaluated at the end; null if it is not. An empty object takes every default. */
  evaluate: Values | null;
  /** The values to try, by their path in the request; null if the job is not a sweep. */
  tried: Tried | null;
}

/** The models, methods, schemas and trackers that the service offers for a job. */
export interface Offer {
  models: readonly string[];
  methods: readonly Method[];
  schemas: JobSchemas;
  trackers: readonly Tracker[];
}

export const SPLIT = "validation_split";
export const TENTH = 0.1; // the part of the rows that the form offers to hold out

export const EMPTY_DRAFT: Draft = {
  model: "",
  training_file: "",
  validation_file: "",
  top: {},
  metadata: [],
  objective: "supervised",
  hyperparameters: {},
  beside: {},
  adapter: "lora",
  options: {},
  training: {},
  integrations: [],
  evaluate: null,
  tried: null,
};

export function optionsSchema(draft: Draft, offer: Offer): Schema {
  return methodOf(draft, offer)?.schema ?? {};
}

export function methodOf(draft: Draft, offer: Offer): Method | undefined {
  return offer.methods.find(({ id }) => id === draft.adapter);
}

export function objectiveSchema(draft: Draft, offer: Offer): Schema {
  return offer.schemas.objectives[draft.objective]?.hyperparameters ?? {};
}

/** Returns the schema of what stands beside the hyperparameters of the objective. */
export function besideSchema(draft: Draft, offer: Offer): Schema {
  return offer.schemas.objectives[draft.objective]?.beside ?? {};
}

/** Returns whether the model answers the rows itself, which then are prompts. */
export function samplesAnswers(draft: Draft, offer: Offer): boolean {
  return objectiveSchema(draft, offer).properties?.num_generations !== undefined;
}

/** Returns the values with one of them set, or removed if it is undefined. */
export function withValue(values: Values, name: string, value: unknown): Values {
  return value === undefined ? without(values, name) : { ...values, [name]: value };
}

export function without(values: Values, name: string): Values {
  return pick(values, (other) => other !== name);
}

/** Returns the request that is sent. It may hold values that the API does not accept; `problemsOf` finds them. */
export function requestOf(draft: Draft, offer: Offer): CreateJob {
  const hyperparameters = known(draft.hyperparameters, objectiveSchema(draft, offer));
  const asked = { ...known(draft.beside, besideSchema(draft, offer)), ...(!isEmpty(hyperparameters) && { hyperparameters }) };
  const options = draft.options[draft.adapter] ?? {};
  const metadata = Object.fromEntries(draft.metadata.filter(([name, value]) => name || value));
  const { objective } = draft;
  const request: Record<string, unknown> = {
    model: draft.model,
    training_file: draft.training_file,
    ...(draft.validation_file && { validation_file: draft.validation_file }),
    ...(draft.validation_file ? without(draft.top, SPLIT) : draft.top),
    ...(Object.keys(metadata).length && { metadata }),
    ...((objective !== "supervised" || !isEmpty(asked)) && { method: { type: objective, [objective]: asked } }),
    ...((draft.adapter !== "lora" || !isEmpty(options)) && { adapter: { type: draft.adapter, ...options } }),
    ...(!isEmpty(draft.training) && { training: draft.training }),
    ...(draft.integrations.length && { integrations: draft.integrations }),
    ...(draft.evaluate && hasRowsToEvaluate(draft) && { evaluate: draft.evaluate }),
    ...(draft.tried && { parameters: triedOf(draft, offer) }),
  };
  return request as unknown as CreateJob;
}

/** Returns whether there are rows to judge the result on: those of the validation file, or of a file of their own. */
export function hasRowsToEvaluate(draft: Draft): boolean {
  return hasHeldOutRows(draft) || draft.evaluate?.file !== undefined;
}

/** Returns whether there are rows that are not trained on: a file, or a part of the training file. */
function hasHeldOutRows({ validation_file, top }: Draft): boolean {
  return validation_file !== "" || top[SPLIT] !== undefined;
}

/** Returns the values that a sweep tries. There are none if the job is not a sweep. */
export function triedOf(draft: Draft, offer: Offer): Tried {
  return triedValues(draft.tried ?? {}, offer.schemas.sweep, optionsSchema(draft, offer));
}

const isEmpty = (values: Values) => Object.keys(values).length === 0;

/** Returns the values that the schema names. */
function known(values: Values, { properties = {} }: Schema): Values {
  return pick(values, (name) => name in properties);
}

function pick(values: Values, keeps: (name: string) => boolean): Values {
  return Object.fromEntries(Object.entries(values).filter(([name]) => keeps(name)));
}

/** Returns what is wrong or missing, as far as the schemas say it. */
export function problemsOf(draft: Draft, offer: Offer): Problem[] {
  const { adapter, training, method, metadata } = requestOf(draft, offer) as unknown as Values;
  const { schemas } = offer;
  const asked = isRecord(method) && isRecord(method[draft.objective]) ? method[draft.objective] : {};
  const { hyperparameters = {} } = asked as Values;
  const top = Object.entries(draft.validation_file ? without(draft.top, SPLIT) : draft.top) as [TopName, unknown][];
  return [
    ...(draft.model ? [] : [{ path: "model", message: "Choose a base model." }]),
    ...(draft.training_file ? [] : [{ path: "training_file", message: "Choose or upload a training file." }]),
    ...optionProblems(draft.beside, besideSchema(draft, offer), besidePath(draft)),
    ...problems(hyperparameters, objectiveSchema(draft, offer), hyperparametersPath(draft)),
    ...problems(adapter ?? { type: draft.adapter }, optionsSchema(draft, offer), "adapter"),
    ...problems(training ?? {}, schemas.training, "training"),
    ...top.flatMap(([name, value]) => problems(value, schemas[name], name)),
    ...trackerProblems(draft.integrations, schemas, offer.trackers),
    ...metadataProblems(draft, metadata ?? {}, schemas.metadata),
    ...(draft.tried ? sweepProblems(triedOf(draft, offer), schemas.sweep, hasHeldOutRows(draft)) : []),
  ];
}

function metadataProblems(draft: Draft, metadata: unknown, schema: Schema): Problem[] {
  const names = draft.metadata.filter(([name, value]) => name || value).map(([name]) => name);
  const path = "metadata";
  if (names.includes("")) return [{ path, message: "A value has no name." }];
  const twice = names.find((name, at) => names.indexOf(name) !== at);
  if (twice !== undefined) return [{ path, message: `The name ${twice} is used twice.` }];
  return problems(metadata, schema, path).map(({ message }) => ({ path, message }));
}

export function besidePath({ objective }: Draft): string {
  return `method.${objective}`;
}

export function hyperparametersPath(draft: Draft): string {
  return `${besidePath(draft)}.hyperparameters`;
}

/** Returns the path of each field of the form, as the API's `param` names it. */
export function fieldPaths(draft: Draft, offer: Offer): string[] {
  return [
    ...["model", "training_file", "validation_file", SPLIT, "suffix", "seed", "metadata", "integrations", "evaluate"],
    ...["method.type", "adapter.type"],
    ...besidePaths(draft, offer),
    ...pathsWithin(objectiveSchema(draft, offer), hyperparametersPath(draft)),
    ...pathsWithin(optionsSchema(draft, offer), "adapter"),
    ...["augmentation", ...pathsWithin(offer.schemas.augmentation, "augmentation")],
    ...pathsWithin(offer.schemas.training, "training"),
    ...draft.integrations.flatMap(({ type }) =>
      pathsWithin(trackerSettings(type, offer.schemas, offer.trackers) ?? {}, settingsPath(draft.integrations, type)),
    ),
    ...["parameters", ...Object.keys(offer.schemas.sweep.properties ?? {}).map((path) => `parameters.${path}`)],
  ];
}

function besidePaths(draft: Draft, offer: Offer): string[] {
  return Object.entries(besideSchema(draft, offer).properties ?? {}).flatMap(([name, option]) => {
    const path = `${besidePath(draft)}.${name}`;
    const item = itemSchema(option);
    return [path, ...(item ? itemPaths(draft.beside[name], item, path) : [])];
  });
}

function pathsWithin(schema: Schema, path: string): string[] {
  return schemaFields(schema).flatMap(({ name, kind, schema: one }) => {
    const inner = `${path}.${name}`;
    return kind === "group" ? [inner, ...pathsWithin(groupSchema(one), inner)] : [inner];
  });
}

/** Returns the problems of a draft, each with the path of the field in which it lies. */
export function problemsAtFields(draft: Draft, offer: Offer): Problem[] {
  const paths = fieldPaths(draft, offer);
  return problemsOf(draft, offer).map(({ path, message }) => {
    const field = fieldOf(path, paths) ?? path;
    return { path: field, message: field === path ? message : `${path.slice(field.length + 1)}: ${message}` };
  });
}

/** Returns the field that a refusal is about. Its `param` may name a value inside the field. */
export function fieldOf(param: string | null, paths: readonly string[]): string | null {
  const above = paths.filter((path) => param === path || param?.startsWith(`${path}.`));
  return above.sort((a, b) => b.length - a.length)[0] ?? null;
}
