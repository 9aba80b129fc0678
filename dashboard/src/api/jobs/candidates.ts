import { keepPreviousData, queryOptions } from "@tanstack/react-query";

import { get } from "@/api/routes";
import { hasEnded } from "@/lib/facts/jobFacts";
import type { Candidate, Job } from "@/types/api";

import { POLL_MS } from "./jobs";

/**
 * The candidates of a job that chooses among several adapters, for an automatic rank or a sweep. A job that trains one
 * adapter has no candidates, so the API is asked once.
 */
export function candidatesQuery(job: Job) {
  const over = hasEnded(job);
  return queryOptions({
    queryKey: ["candidates", job.id, over],
    queryFn: ({ signal }) => get("/v1/fine_tuning/jobs/{fine_tuning_job_id}/candidates", [job.id], { signal }),
    refetchInterval: ({ state }) => (over || !state.data?.data.length ? false : POLL_MS),
    staleTime: over ? Infinity : POLL_MS,
    placeholderData: keepPreviousData,
  });
}

/** Returns whether the candidate may still get steps. */
export function isTraining(candidate: Candidate): boolean {
  return candidate.status === "waiting" || candidate.status === "training";
}
