import { queryOptions } from "@tanstack/react-query";

import { api, body } from "@/api/client";
import { hasEnded, hasSamples } from "@/lib/facts/jobFacts";
import type { EventPage, Job, JobEvent } from "@/types/api";

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
      const found: JobEvent[] = [];
      let page: EventPage;
      do {
        page = await fetchPage(job.id, MOST - found.length, found.at(-1)?.id, signal); // long answers end a page early
        found.push(...page.data);
      } while (page.has_more && found.length < MOST);
      return found;
    },
    enabled: hasSamples(job),
    staleTime: hasEnded(job) ? Infinity : POLL_MS,
  });
}

async function fetchPage(jobId: string, limit: number, after: string | undefined, signal: AbortSignal) {
  const params = {
    path: { fine_tuning_job_id: jobId },
    query: { type: "samples" as const, limit, ...(after !== undefined && { after }) },
  };
  return (await body(api.GET("/v1/fine_tuning/jobs/{fine_tuning_job_id}/events", { params, signal }))) as EventPage;
}
