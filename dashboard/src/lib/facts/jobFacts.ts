/** What follows from a job's fields. */

import type { Checkpoint, Job } from "@/api/types";

import { placeOfBest, type Series } from "@/lib/charts/series";

/** The suffix that its owner gave it, else its model's name, else its id. */
export function jobName(job: Job): string {
  return job.user_provided_suffix ?? job.fine_tuned_model ?? job.id;
}

/** `LoRA` is what its field writes; other types stand as the API names them. */
export function methodName(job: Job): string {
  const adapter = job.adapter.type === "lora" ? "LoRA" : job.adapter.type;
  return job.method.type === "supervised" ? adapter : `${job.method.type.toUpperCase()} · ${adapter}`;
}

/** Null until the worker knows it. */
export function stepsPerEpoch(job: Job): number | null {
  const { total_steps } = job.progress;
  return total_steps ? total_steps / job.hyperparameters.n_epochs : null;
}

/** Seconds until the estimated end; null where there is none. */
export function secondsLeft(job: Job, now: number): number | null {
  return job.estimated_finish == null ? null : Math.max(0, job.estimated_finish - now);
}

/** The smallest loss on the whole validation set; of equals the earlier one. */
export function bestOf(series: Series): { loss: number; step: number } | undefined {
  const losses = series.column("full_valid_loss");
  const place = losses ? placeOfBest(losses, "smallest") : -1;
  return losses && place >= 0 ? { loss: losses[place] as number, step: series.steps[place] as number } : undefined;
}

/** The checkpoint with the smallest loss on the whole validation set; of equals the earlier one. */
export function bestCheckpoint(checkpoints: readonly Checkpoint[]): Checkpoint | undefined {
  let best: Checkpoint | undefined;
  for (const one of checkpoints) if (lossOf(one) <= lossOf(best) && lossOf(one) < Infinity) best = one;
  return best;
}

function lossOf(checkpoint: Checkpoint | undefined): number {
  const loss = checkpoint?.metrics.full_valid_loss;
  return typeof loss === "number" ? loss : Infinity;
}
