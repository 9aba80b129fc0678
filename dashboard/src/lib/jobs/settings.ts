/** The settings of a job, as its page lists them. */

import { hasSamples, stepsPerEpoch } from "@/lib/facts/jobFacts";
import type { JobSchemas } from "@/lib/newJob/jobSchemas";
import type { Method } from "@/lib/schemas/method";
import type { Schema } from "@/lib/schemas/schema";
import { compactJson } from "@/lib/text/flatten";
import type { Job } from "@/types/api";

import { settingsOf } from "./comparison";

type Setting = [path: string, value: string];

/** What says which values are defaults. */
export interface Defaults {
  methods: readonly Method[];
  schemas: JobSchemas;
}

interface ShownSettings {
  changed: Setting[];
  /** Those that the service chooses unless the request names them. A job keeps only the value. */
  automatic: Setting[];
  usual: Setting[];
}

/**
 * Returns the settings that differ from their defaults, those that are automatic by default, and the others. Without the
 * defaults, no setting is known to be usual.
 */
export function shownSettings(job: Job, defaults: Defaults | undefined): ShownSettings {
  const all = settingsOf(job).map(([path, value]): Setting => [path, resolved(job, path, value)]);
  if (!defaults) return { changed: all, automatic: [], usual: [] };
  const usualValues = defaultsOf(job, defaults);
  const kindOf = ([path, value]: Setting): keyof ShownSettings => {
    const usual = usualValues.get(path);
    if (usual ? usual.includes(value) : NOTHING.includes(value)) return "usual";
    return usual?.includes("auto") || AUTOMATIC.includes(path) ? "automatic" : "changed";
  };
  const of = (kind: keyof ShownSettings) => all.filter((one) => kindOf(one) === kind);
  return { changed: of("changed"), automatic: of("automatic"), usual: of("usual") };
}

const NOTHING = ["null", "{}", "[]"]; // what a setting without a default is if the request has left it out
const AUTOMATIC = ["seed", "training.max_length"]; // drawn at random, and the base model's limit

const EVALUATIONS_PER_EPOCH = 4;
const FEWEST_EVAL_STEPS = 10;

/** Returns a setting as the worker takes it, also if the service chose it. */
function resolved(job: Job, path: string, value: string): string {
  if (value !== "null") return value;
  if (path === "training.eval_samples") return hasSamples(job) ? "3, before the first step and after the last" : "0";
  const steps = stepsPerEpoch(job);
  if (path !== "training.eval_steps" || steps === null) return value;
  return `${Math.max(FEWEST_EVAL_STEPS, Math.floor(steps / EVALUATIONS_PER_EPOCH))}, a quarter of an epoch`;
}

/** Returns the values of each setting that nobody had to ask for. */
function defaultsOf(job: Job, { methods, schemas }: Defaults): Map<string, string[]> {
  const method = methods.find(({ id }) => id === job.adapter.type);
  const objective = schemas.objectives[job.method.type];
  const found = new Map<string, string[]>();
  const take = (path: string, schema: Schema | undefined) => {
    for (const [name, option] of Object.entries(schema?.properties ?? {})) {
      const usual = option.default ?? null;
      const value = typeof usual === "string" ? usual : compactJson(usual);
      found.set(`${path}.${name}`, [resolved(job, `${path}.${name}`, value)]);
    }
  };
  take("training", schemas.training);
  take("adapter", method?.schema);
  take(`method.${job.method.type}`, objective?.beside);
  take(`method.${job.method.type}.hyperparameters`, objective?.hyperparameters);
  found.set("method.type", ["supervised"]);
  found.set("adapter.type", ["lora"]);
  found.set("integrations", ["[]"]);
  if (method) found.get("training.learning_rate")?.push(compactJson(method.learning_rate));
  found.get("training.quantization")?.push("none");
  return found;
}
