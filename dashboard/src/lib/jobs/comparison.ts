/** Jobs beside each other: in which settings they differ, and by how much their results do. */

import type { Job } from "@/api/types";

import { flatten } from "@/lib/text/flatten";
import { NOTHING } from "@/lib/text/format";
import { bestOf } from "@/lib/facts/jobFacts";
import type { Series } from "@/lib/charts/series";

/** As they were resolved when the job was created: what "auto" became, and every default. */
export function settingsOf(job: Job): [string, string][] {
  const { model, training_file, validation_file, seed, method, adapter, training, metadata, integrations } = job;
  return flatten({ model, training_file, validation_file, seed, method, adapter, training, metadata, integrations });
}

export interface SettingRow {
  path: string;
  /** Each job's, in their order. */
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
  /** The median of its steps. */
  tokensPerSecond: number | null;
  /** From its start to its end, or to now; pauses count. */
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

/** What a loss is measured by; two that differ in any of it cannot be told better or worse. */
const YARDSTICKS: readonly [words: string, of: (job: Job) => unknown][] = [
  ["base model", ({ model }) => model],
  ["validation file", ({ validation_file }) => validation_file],
  ["objective", objectiveOf],
  ["maximal length of rows", ({ training }) => (training as { max_length?: unknown }).max_length],
];

/** In what the two jobs' losses are measured otherwise. */
export function otherYardsticks(job: Job, base: Job): string[] {
  return YARDSTICKS.filter(([, of]) => JSON.stringify(of(job)) !== JSON.stringify(of(base))).map(([words]) => words);
}

const OF_TRAINING = new Set(["n_epochs", "batch_size", "learning_rate_multiplier"]);

/** The method with those of its options that the loss follows from. */
function objectiveOf({ method }: Job): unknown {
  return flatten(method).filter(([path]) => !OF_TRAINING.has(path.split(".").at(-1) ?? ""));
}

function median(values: Float64Array | undefined): number | null {
  const sorted = (values ?? new Float64Array()).filter((value) => !Number.isNaN(value)).sort();
  if (!sorted.length) return null;
  const middle = sorted.length >> 1;
  const upper = sorted[middle] as number;
  return sorted.length % 2 ? upper : ((sorted[middle - 1] as number) + upper) / 2;
}

/** In per cent of the baseline's; null where one of the two is missing, or the baseline's is 0. */
export function percentOff(value: number | null, baseline: number | null): number | null {
  return value === null || !baseline ? null : (100 * (value - baseline)) / Math.abs(baseline);
}
