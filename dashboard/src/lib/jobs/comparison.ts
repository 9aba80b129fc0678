/** Compares jobs: in which settings they differ, and how much their results differ. */

import type { Series } from "@/lib/charts/series";
import { bestOf } from "@/lib/facts/jobFacts";
import { flatten } from "@/lib/text/flatten";
import { NOTHING } from "@/lib/text/format";
import type { Job } from "@/types/api";

/** Returns the settings as they were resolved when the job was created, with all defaults and the values of "auto". */
export function settingsOf(job: Job): [string, string][] {
  const { model, training_file, validation_file, seed, method, adapter, training, metadata, integrations } = job;
  return flatten({ model, training_file, validation_file, seed, method, adapter, training, metadata, integrations });
}

export interface SettingRow {
  path: string;
  /** The value of each job, in the order of the jobs. */
  values: string[];
  differs: boolean;
}

export function settingRows(jobs: readonly Job[]): SettingRow[] {
  const all = jobs.map((job) => new Map(settingsOf(job)));
  const paths = new Set(all.flatMap((settings) => [...settings.keys()]));
  return [...paths].map((path) => {
    const values = all.map((settings) => settings.get(path) ?? NOTHING);
    return { path, values, differs: new Set(values).size > 1 };
  });
}

export interface Result {
  bestLoss: number | null;
  /** The median over the job's steps. */
  tokensPerSecond: number | null;
  /** The time from the start to the end, or to now. Pauses count. */
  seconds: number | null;
  trainedTokens: number | null;
}

export function resultOf(job: Job, series: Series | undefined, now: number): Result {
  return {
    bestLoss: (series && bestOf(series)?.loss) ?? null,
    tokensPerSecond: median(series?.column("tokens_per_second")),
    seconds: job.started_at == null ? null : (job.finished_at ?? now) - job.started_at,
    trainedTokens: job.trained_tokens,
  };
}

type Condition = readonly [words: string, of: (job: Job) => unknown];

const BASE_MODEL: Condition = ["base model", ({ model }) => model];
const MAX_LENGTH: Condition = ["maximum row length", ({ training }) => (training as { max_length?: unknown }).max_length];

/**
 * The conditions under which a kind of result is measured. One result is better or worse than another only if all
 * conditions are the same.
 */
const CONDITIONS = {
  loss: [BASE_MODEL, ["validation file", ({ validation_file }) => validation_file], ["objective", objectiveOf], MAX_LENGTH],
  speed: [BASE_MODEL, ["training file", ({ training_file }) => training_file], ["objective", objectiveOf], MAX_LENGTH],
} satisfies Record<string, readonly Condition[]>;

export type Measured = keyof typeof CONDITIONS;

/** Returns the conditions in which two jobs differ, of those that a kind of result depends on. */
export function differingConditions(measured: Measured, job: Job, base: Job): string[] {
  const conditions: readonly Condition[] = CONDITIONS[measured];
  return conditions.filter(([, of]) => JSON.stringify(of(job)) !== JSON.stringify(of(base))).map(([words]) => words);
}

const NOT_OF_THE_OBJECTIVE = new Set(["n_epochs", "batch_size", "learning_rate_multiplier"]);

/** Returns the objective with those of its options that define the loss. */
function objectiveOf({ method }: Job): unknown {
  return flatten(method).filter(([path]) => !NOT_OF_THE_OBJECTIVE.has(path.split(".").at(-1) ?? ""));
}

function median(values: Float64Array | undefined): number | null {
  const sorted = (values ?? new Float64Array()).filter((value) => !Number.isNaN(value)).sort();
  if (!sorted.length) return null;
  const middle = sorted.length >> 1;
  const upper = sorted[middle] as number;
  return sorted.length % 2 ? upper : ((sorted[middle - 1] as number) + upper) / 2;
}

/** Returns the difference in per cent of the baseline; null if one of the values is missing or the baseline is 0. */
export function percentOff(value: number | null, baseline: number | null): number | null {
  return value === null || !baseline ? null : (100 * (value - baseline)) / Math.abs(baseline);
}
