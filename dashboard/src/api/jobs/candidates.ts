/** The candidates of a job that chooses among several: an automatic rank, or a sweep. */

import { queryOptions } from "@tanstack/react-query";

import { api, body } from "@/api/client";
import { POLL_MS } from "./jobs";
import { type Candidate, hasEnded, type Job } from "@/api/types";

/** A job that trains one adapter has none, and is asked once. */
export function candidatesQuery(job: Job) {
  const over = hasEnded(job);
  return queryOptions({
    queryKey: ["candidates", job.id, over],
    queryFn: ({ signal }) => {
      const params = { path: { fine_tuning_job_id: job.id } };
      return body(api.GET("/v1/fine_tuning/jobs/{fine_tuning_job_id}/candidates", { params, signal }));
    },
    refetchInterval: ({ state }) => (over || !state.data?.data.length ? false : POLL_MS),
    staleTime: over ? Infinity : POLL_MS,
    placeholderData: (before: unknown) => before as never,
  });
}

export function trainsOn(candidate: Candidate): boolean {
  return candidate.status === "waiting" || candidate.status === "training";
}
