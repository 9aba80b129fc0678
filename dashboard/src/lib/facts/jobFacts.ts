/** Facts that follow from a job. */

import { indexOfBest, type Series } from "@/lib/charts/series";
import type { Checkpoint, Job } from "@/types/api";

export const STATUSES = ["queued", "running", "paused", "succeeded", "failed", "cancelled"] as const;
export type Status = (typeof STATUSES)[number];

export function hasEnded(job: Job): boolean {
  return job.status === "succeeded" || job.status === "failed" || job.status === "cancelled";
}

/** Returns the suffix that the owner gave the job, or the name of its model, or its id. */
export function jobName(job: Job): string {
  return job.user_provided_suffix ?? job.fine_tuned_model ?? job.id;
}

/** Returns the name of a type of adapter. LoRA is written as its authors do; others as the API does. */
export function adapterName(type: string): string {
  return type === "lora" ? "LoRA" : type;
}

/** The names of the objectives whose jobs sample the answers from which they learn. */
const SAMPLING: Record<string, string> = { reinforcement: "Reinforcement", distillation: "Distillation" };

/** Returns the objective and the method of a job. Most objectives are known by their initials. */
export function methodName(job: Job): string {
  const adapter = adapterName(job.adapter.type);
  if (job.method.type === "supervised") return adapter;
  return `${SAMPLING[job.method.type] ?? job.method.type.toUpperCase()} · ${adapter}`;
}

/** Returns whether the job's model samples the answers from which it learns. */
export function samplesAnswers(job: Job): boolean {
  return job.method.type in SAMPLING;
}

/** Returns the number of steps per epoch; null until the worker knows it. */
export function stepsPerEpoch(job: Job): number | null {
  const { total_steps } = job.progress;
  return total_steps ? total_steps / job.hyperparameters.n_epochs : null;
}

/** Returns the seconds until the estimated end; null if there is no estimate. */
export function secondsLeft(job: Job, now: number): number | null {
  return job.estimated_finish == null ? null : Math.max(0, job.estimated_finish - now);
}

/** Returns the smallest loss on the whole validation set, the earliest of equal ones. */
export function bestOf(series: Series): { loss: number; step: number } | undefined {
  const losses = series.column("full_valid_loss");
  const index = losses ? indexOfBest(losses, "smallest") : -1;
  return losses && index >= 0 ? { loss: losses[index] as number, step: series.steps[index] as number } : undefined;
}

/** What validations measure, in the order in which it says how far a job came. */
const VALIDATED = {
  full_valid_mean_reward: "Validation reward",
  full_valid_mean_reverse_kl: "Validation reverse KL",
  full_valid_loss: "Validation loss",
  valid_loss: "Validation loss",
};

/** Returns the first and the last value of what the job's validations measure. Undefined if there are not two. */
export function validationChange(series: Series): { title: string; from: number; to: number } | undefined {
  for (const [name, title] of Object.entries(VALIDATED)) {
    const values = (series.column(name) ?? new Float64Array()).filter((value) => !Number.isNaN(value));
    if (values.length > 1) return { title, from: values[0] as number, to: values.at(-1) as number };
  }
  return undefined;
}

/** Returns whether the job's model answers validation prompts. Without a number, it does if there are held-out rows. */
export function hasSamples({ training, validation_file, validation_split }: Job): boolean {
  const asked = training.eval_samples as number | null | undefined;
  return (asked ?? (validation_file || validation_split ? 1 : 0)) > 0;
}

/** Returns what the validations of checkpoints measure, and its name in words: the loss if they measure nothing. */
export function measureOf(checkpoints: readonly Checkpoint[]): { name: string; title: string } {
  const measured = Object.entries(VALIDATED).find(([name]) => checkpoints.some(({ metrics }) => typeof metrics[name] === "number"));
  const [name, title] = measured ?? ["full_valid_loss", VALIDATED.full_valid_loss];
  return { name, title };
}
