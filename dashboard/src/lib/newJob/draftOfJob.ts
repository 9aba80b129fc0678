/**
 * A draft with the settings of a job. The API keeps the resolved settings of a job, not its request, so the draft is
 * nearly the same as the request.
 */

import { usualCriteria } from "@/lib/evals/chosenRuns";
import { isRecord } from "@/lib/isRecord";
import type { Schema } from "@/lib/schemas/schema";
import { problems } from "@/lib/schemas/schemaProblems";
import type { Job } from "@/types/api";

import { type Draft, EMPTY_DRAFT, type Offer, type Values, without } from "./draft";
import type { Tried } from "./sweepDraft";
import { type Integrations, settingsOf } from "./trackers";

/** Why a job has candidates, if it has any. */
export interface Choice {
  kind: "none" | "auto_rank" | "sweep";
  /** The values that a sweep tries; null for any other job. */
  tried: Tried | null;
}

export interface FilledDraft {
  draft: Draft;
  /** Settings that this service does not accept now, such as the path `adapter.r` and its value. */
  leftOut: [path: string, value: unknown][];
}

/**
 * Returns a draft with the values of the job that differ from today's defaults. An automatic rank is automatic again,
 * and a sweep tries the same values. Rows that the job has made of its training file are taken as they are.
 */
export function draftOfJob(job: Job, offer: Offer, { kind, tried }: Choice): FilledDraft {
  const leftOut: [string, unknown][] = [];
  const method = offer.methods.find(({ id }) => id === job.adapter.type);
  const take = (values: unknown, schema: Schema, path: string): Values =>
    Object.fromEntries(
      Object.entries(isRecord(values) ? values : {}).filter(([name, value]) => {
        if (name === "type" || value === "auto") return false; // "auto" means that the value is not chosen yet
        const known = schema.properties?.[name];
        if (known && isSame(value, known.default ?? null)) return false;
        if (known && !problems(value, known, "").length) return true;
        leftOut.push([`${path}.${name}`, value]);
        return false;
      }),
    );
  const adapter = take(job.adapter, method?.schema ?? {}, "adapter");
  const options = kind === "auto_rank" ? withAutomaticRank(adapter) : tried ? withoutTried(adapter, tried) : adapter;
  const training = take(job.training, offer.schemas.training, "training");
  const isUsualRate = training.learning_rate === method?.learning_rate || (tried && "training.learning_rate" in tried);
  const isOffered = job.method.type in offer.schemas.objectives;
  const objective = isOffered ? job.method.type : EMPTY_DRAFT.objective;
  if (!isOffered) leftOut.push(["method", job.method]);
  const { hyperparameters, ...others } = (isOffered ? (job.method as Record<string, unknown>)[objective] : {}) as Values;
  const schemas = offer.schemas.objectives[objective];
  const augmentation = take(job.prepared ? null : job.augmentation, offer.schemas.augmentation, "augmentation");
  const draft: Draft = {
    ...EMPTY_DRAFT,
    model: job.model,
    training_file: job.prepared?.training_file ?? job.training_file,
    validation_file: job.validation_file ?? "",
    top: {
      seed: job.seed,
      ...(job.user_provided_suffix && { suffix: job.user_provided_suffix }),
      ...(!job.prepared && job.validation_split !== null && { validation_split: job.validation_split }),
      ...(Object.keys(augmentation).length > 0 && { augmentation }),
    },
    metadata: Object.entries(job.metadata ?? {}),
    objective,
    hyperparameters: take(hyperparameters, schemas?.hyperparameters ?? {}, `method.${objective}.hyperparameters`),
    beside: take(others, schemas?.beside ?? {}, `method.${objective}`),
    adapter: job.adapter.type,
    options: { [job.adapter.type]: options },
    training: isUsualRate ? without(training, "learning_rate") : training,
    integrations: job.integrations.map(withoutNulls),
    evaluate: evaluationOf(job),
    tried,
  };
  return { draft, leftOut };
}

/**
 * Returns the options with an automatic rank. Without a `lora_alpha`, alpha is twice the rank of each candidate. An
 * alpha that is not twice the rank was set by the request, and is kept for all candidates.
 */
function withAutomaticRank(options: Values): Values {
  const { r = 16, lora_alpha = 32 } = options as { r?: number; lora_alpha?: number };
  const others = lora_alpha === 2 * r ? without(options, "lora_alpha") : options;
  return { ...others, r: "auto" };
}

/**
 * Returns the options without those that the sweep tries: the job's settings hold the winner's values. If alpha
 * followed the rank, it is left out too, so that it follows the ranks again.
 */
function withoutTried(options: Values, tried: Tried): Values {
  const followed = "adapter.r" in tried && options.lora_alpha === 2 * Number(options.r ?? 16);
  const names = Object.keys(tried).map((path) => path.replace(/^adapter\./, ""));
  return [...names, ...(followed ? ["lora_alpha"] : [])].reduce(without, options);
}

/** Returns what differs from the defaults of an evaluation: they judge the whole validation file. */
function evaluationOf(job: Job): Values | null {
  const { evaluate, validation_file } = job;
  if (!evaluate) return null;
  const { file, rows, forgetting, criteria } = evaluate;
  const usual = usualCriteria(job).map(({ type, name = type }) => `${type} ${name}`);
  const isUsual = isSame(criteria.map(({ type, name }) => `${type} ${name}`), usual);
  return {
    ...(file !== null && file !== validation_file && { file }),
    ...(rows !== null && { rows }),
    ...(!forgetting && { forgetting }),
    ...(!isUsual && { criteria }),
  };
}

/** Returns a tracker with the settings that are not null. */
function withoutNulls(integration: Integrations[number]): Integrations[number] {
  const settings = Object.entries(settingsOf(integration)).filter(([, value]) => value !== null);
  const { type } = integration;
  return { type, ...(type in integration && { [type]: Object.fromEntries(settings) }) } as unknown as Integrations[number];
}

function isSame(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
