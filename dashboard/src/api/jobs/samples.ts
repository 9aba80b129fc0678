import { queryOptions } from "@tanstack/react-query";

import { get } from "@/api/routes";
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
        const query = { type: "samples" as const, limit: MOST - found.length, after: found.at(-1)?.id };
        page = await get("/v1/fine_tuning/jobs/{fine_tuning_job_id}/events", [job.id], { query, signal }); // long answers end a page early
        found.push(...page.data);
      } while (page.has_more && found.length < MOST);
      return found;
    },
    enabled: hasSamples(job),
    staleTime: hasEnded(job) ? Infinity : POLL_MS,
  });
}
