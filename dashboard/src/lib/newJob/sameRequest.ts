import type { CreateJob, Job } from "@/api/types";

/** Returns whether all settings of the job have a value. An "auto" is a value that was to be chosen among candidates. */
export function isResolved(job: Job): boolean {
  return ![...Object.values(job.adapter), ...Object.values(job.training)].includes("auto");
}

/** Returns the request that creates the same job again. The job must be resolved. */
export function sameRequest(job: Job): CreateJob {
  const { model, training_file, validation_file, seed, metadata, method, adapter, training, evaluate } = job;
  const request = { model, training_file, validation_file, seed, metadata, method, adapter, training, evaluate };
  return { ...request, suffix: job.user_provided_suffix ?? null, integrations: job.integrations };
}
