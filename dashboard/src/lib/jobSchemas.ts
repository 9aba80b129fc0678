/** What a job's request may hold, out of the API's OpenAPI document. */

import { expand, type Schema } from "./schema";

export interface JobSchemas {
  suffix: Schema;
  seed: Schema;
  metadata: Schema;
  training: Schema;
  /** The hyperparameters of each objective on offer. */
  objectives: Record<string, Schema>;
}

export function jobSchemas(document: unknown): JobSchemas {
  const of = (name: string) => withoutNull(expand({ $ref: `#/components/schemas/${name}` }, document));
  const { suffix = {}, seed = {}, metadata = {}, training = {} } = of("CreateJob").properties ?? {};
  return {
    suffix: withoutNull(suffix),
    seed: withoutNull(seed),
    metadata: withoutNull(metadata),
    training: withoutNull(training),
    objectives: objectivesOf(of("Method")),
  };
}

/** A type without a place for its hyperparameters, such as OpenAI's `reinforcement`, is not on offer. */
function objectivesOf(method: Schema): Record<string, Schema> {
  const types = (method.properties?.type?.enum ?? []) as string[];
  const found = types.flatMap((type) => {
    const options = withoutNull(method.properties?.[type] ?? {});
    const { hyperparameters } = options.properties ?? {};
    return hyperparameters ? [[type, withoutNull(hyperparameters)] as const] : [];
  });
  return Object.fromEntries(found);
}

/** The one alternative beside null, with its description: leaving a field out means null here. */
function withoutNull(schema: Schema): Schema {
  const others = schema.anyOf?.filter((one) => one.type !== "null") ?? [];
  if (others.length !== 1) return schema;
  const beside = Object.entries(schema).filter(([name]) => name !== "anyOf");
  return { ...others[0], ...Object.fromEntries(beside) };
}
