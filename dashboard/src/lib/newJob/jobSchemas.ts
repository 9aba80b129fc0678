/** The schemas of a job's request, taken from the API's OpenAPI document. */

import { alternatives, expand, type Schema } from "@/lib/schemas/schema";

export interface JobSchemas {
  suffix: Schema;
  seed: Schema;
  metadata: Schema;
  validation_split: Schema;
  augmentation: Schema;
  training: Schema;
  /** Each objective that the form offers. */
  objectives: Record<string, ObjectiveSchema>;
  /** The values that a sweep can try: a list for each path in the request. */
  sweep: Schema;
  trackers: Record<string, TrackerSchema>;
}

export interface ObjectiveSchema {
  title: string;
  /** What the objective does, and what a row of its dataset holds: one paragraph each. */
  paragraphs: string[];
  hyperparameters: Schema;
  /** The options that stand beside the hyperparameters, such as a grader. */
  beside: Schema;
}

export interface TrackerSchema {
  description: string;
  /** Null if there is nothing to set. */
  settings: Schema | null;
}

export function jobSchemas(document: unknown): JobSchemas {
  const of = (name: string) => withoutNull(expand({ $ref: `#/components/schemas/${name}` }, document));
  const { suffix = {}, seed = {}, metadata = {}, training = {}, integrations = {}, ...rows } = of("CreateJob").properties ?? {};
  return {
    suffix: withoutNull(suffix),
    seed: withoutNull(seed),
    metadata: withoutNull(metadata),
    validation_split: rows.validation_split ?? {},
    augmentation: withoutNull(rows.augmentation ?? {}),
    training: withoutNull(training),
    objectives: objectivesOf(of("Method")),
    sweep: ofItsValues(of("Parameters")),
    trackers: trackersOf(withoutNull(integrations).items ?? {}),
  };
}

function ofItsValues(parameters: Schema): Schema {
  const entries = Object.entries(parameters.properties ?? {});
  return { ...parameters, properties: Object.fromEntries(entries.map(([path, one]) => [path, withoutNull(one)])) };
}

/** Returns the schema of each tracker. A tracker has its settings under its own name. */
function trackersOf(integration: Schema): Record<string, TrackerSchema> {
  const kinds = integration.oneOf ?? alternatives(integration);
  const found = kinds.flatMap(({ properties = {}, description = "" }) => {
    const type = properties.type?.const;
    return typeof type === "string" ? [[type, { description, settings: properties[type] ?? null }] as const] : [];
  });
  return Object.fromEntries(found);
}

/** What the form can set beside the hyperparameters of an objective. */
const BESIDE: readonly string[] = ["grader", "audit_grader", "tools", "max_episode_steps", "teacher", "response_format"];

/** Returns each objective that the form offers. It leaves out an objective that requires what the form cannot set. */
function objectivesOf(method: Schema): Record<string, ObjectiveSchema> {
  const types = (method.properties?.type?.enum ?? []) as string[];
  const found = types.flatMap((type) => {
    const { description: title = type, ...property } = method.properties?.[type] ?? {};
    const { description = "", properties, required = [] } = withoutNull(property);
    if (!properties?.hyperparameters || required.some((name) => !BESIDE.includes(name))) return [];
    const hyperparameters = withoutNull(properties.hyperparameters);
    const others = Object.entries(properties).filter(([name]) => BESIDE.includes(name));
    const beside: Schema = { properties: Object.fromEntries(others), required };
    const paragraphs = description.split("\n\n").filter(Boolean);
    return [[type, { title, paragraphs, hyperparameters, beside }] as const];
  });
  return Object.fromEntries(found);
}

/** Returns the only alternative to null, with the description. A form leaves a field out instead of sending null. */
function withoutNull(schema: Schema): Schema {
  const others = schema.anyOf?.filter((one) => one.type !== "null") ?? [];
  if (others.length !== 1) return schema;
  const beside = Object.entries(schema).filter(([name]) => name !== "anyOf");
  return { ...others[0], ...Object.fromEntries(beside) };
}
