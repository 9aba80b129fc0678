/** A job as a draft: nearly the same again. The API keeps what a request came to, not the request. */

import type { Choice } from "@/api/jobs/choice";
import type { Job } from "@/api/types";

import { type Draft, EMPTY_DRAFT, type Offer, type Values, without } from "./draft";
import { isRecord, type Schema } from "@/lib/schemas/schema";
import { problems } from "@/lib/schemas/schemaProblems";
import type { Tried } from "./sweepDraft";
import { type Integrations, settingsOf } from "./trackers";

export interface FilledDraft {
  draft: Draft;
  /** Settings that this service does not take now, as `adapter.r` and its value. */
  left: [string, unknown][];
}

/** With the values that are not the defaults now. An automatic rank is automatic again, and a sweep tries the same. */
export function draftOfJob(job: Job, offer: Offer, { kind, tried }: Choice): FilledDraft {
  const left: [string, unknown][] = [];
  const method = offer.methods.find(({ id }) => id === job.adapter.type);
  const take = (values: unknown, schema: Schema, path: string): Values =>
    Object.fromEntries(
      Object.entries(isRecord(values) ? values : {}).filter(([name, value]) => {
        if (name === "type" || value === "auto") return false; // still to be chosen
        const known = schema.properties?.[name];
        if (known && isSame(value, known.default ?? null)) return false;
        if (known && !problems(value, known, "").length) return true;
        left.push([`${path}.${name}`, value]);
        return false;
      }),
    );
  const adapter = take(job.adapter, method?.schema ?? {}, "adapter");
  const options = kind === "auto_rank" ? withAutomaticRank(adapter) : tried ? withoutTried(adapter, tried) : adapter;
  const training = take(job.training, offer.schemas.training, "training");
  const isUsualRate = training.learning_rate === method?.learning_rate || (tried && "training.learning_rate" in tried);
  const objective = job.method.type;
  const { hyperparameters } = (job.method as Record<string, unknown>)[objective] as { hyperparameters: unknown };
  const draft: Draft = {
    ...EMPTY_DRAFT,
    model: job.model,
    training_file: job.training_file,
    validation_file: job.validation_file ?? "",
    top: { seed: job.seed, ...(job.user_provided_suffix && { suffix: job.user_provided_suffix }) },
    metadata: Object.entries(job.metadata ?? {}),
    objective,
    hyperparameters: take(hyperparameters, offer.schemas.objectives[objective] ?? {}, `method.${objective}.hyperparameters`),
    adapter: job.adapter.type,
    options: { [job.adapter.type]: options },
    training: isUsualRate ? without(training, "learning_rate") : training,
    integrations: job.integrations.map(withoutNulls),
    tried,
  };
  return { draft, left };
}

/** Its alpha is twice the rank by itself; one that was named is the same for all candidates, and not that. */
function withAutomaticRank(options: Values): Values {
  const { r = 16, lora_alpha = 32 } = options as { r?: number; lora_alpha?: number };
  const others = lora_alpha === 2 * r ? without(options, "lora_alpha") : options;
  return { ...others, r: "auto" };
}

/** What won stands in the job's settings; alphas that followed the ranks follow them again. */
function withoutTried(options: Values, tried: Tried): Values {
  const followed = "adapter.r" in tried && options.lora_alpha === 2 * Number(options.r ?? 16);
  const names = Object.keys(tried).map((place) => place.replace(/^adapter\./, ""));
  return [...names, ...(followed ? ["lora_alpha"] : [])].reduce(without, options);
}

/** Of a tracker what was set. */
function withoutNulls(integration: Integrations[number]): Integrations[number] {
  const settings = Object.entries(settingsOf(integration)).filter(([, value]) => value !== null);
  const { type } = integration;
  return { type, ...(type in integration && { [type]: Object.fromEntries(settings) }) } as unknown as Integrations[number];
}

function isSame(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
