import type { CreateJob, Job } from "@/types/api";

/** Returns whether all settings of the job have a value. An "auto" is a value that was to be chosen among candidates. */
export function isResolved(job: Job): boolean {
  return ![...Object.values(job.adapter), ...Object.values(job.training)].includes("auto");
}

/** Returns the request that creates the same job again. The job must be resolved.
 *
 * If the job has made its rows of its training file, the new job takes the same rows. */
export function sameRequest(job: Job): CreateJob {
  const { model, validation_file, validation_split, augmentation, prepared, seed, metadata, method, adapter, training, evaluate } = job;
  const rows = prepared
    ? { training_file: prepared.training_file, validation_file }
    : { training_file: job.training_file, validation_file, validation_split, augmentation };
  const request = { model, ...rows, seed, metadata, method, adapter, training, evaluate };
  return { ...request, suffix: job.user_provided_suffix ?? null, integrations: job.integrations } as CreateJob; // what the API answers, it takes
}
