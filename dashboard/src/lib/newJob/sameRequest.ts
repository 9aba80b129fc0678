/** A job the same again. */

import type { CreateJob, Job } from "@/api/types";

/** Whether the job's settings are whole: nothing in them is still to be chosen among candidates. */
export function isResolved(job: Job): boolean {
  return ![...Object.values(job.adapter), ...Object.values(job.training)].includes("auto");
}

/** The request that makes the same job again, of one whose settings are whole. */
export function sameRequest(job: Job): CreateJob {
  const { model, training_file, validation_file, seed, metadata, method, adapter, training } = job;
  const request = { model, training_file, validation_file, seed, metadata, method, adapter, training };
  return { ...request, suffix: job.user_provided_suffix ?? null, integrations: job.integrations };
}
