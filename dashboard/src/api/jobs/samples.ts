import { queryOptions } from "@tanstack/react-query";

import { api, body } from "@/api/client";
import { type EventPage, hasEnded, type Job } from "@/api/types";

import { POLL_MS } from "./jobs";

const MOST = 200; // the newest evaluations

/**
 * The answers of a job's model at its evaluations so far. Later answers are pushed with the log. Nothing is asked for
 * if the job has no samples.
 */
export function samplesQuery(job: Job) {
  return queryOptions({
    queryKey: ["samples", job.id],
    queryFn: async ({ signal }) => {
      const params = {
        path: { fine_tuning_job_id: job.id },
        query: { type: "samples" as const, limit: MOST },
      };
      const page = await body(api.GET("/v1/fine_tuning/jobs/{fine_tuning_job_id}/events", { params, signal }));
      return (page as EventPage).data;
    },
    enabled: hasSamples(job),
    staleTime: hasEnded(job) ? Infinity : POLL_MS,
  });
}

export function hasSamples(job: Job): boolean {
  return Number(job.training.eval_samples ?? 0) > 0;
}
