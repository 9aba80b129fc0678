import { useQuery } from "@tanstack/react-query";

import { metricsQuery } from "@/api/live/metrics";
import type { Series } from "@/lib/charts/series";
import { hasEnded } from "@/lib/facts/jobFacts";
import type { Job } from "@/types/api";

const MOST_STEPS = 5000; // thinning more steps costs the database more than a small curve is worth
const POLL_MS = 30_000; // rare, because nobody reads single steps from a small curve

/** The metrics of the job in a row, if the job is short. They are read when the row is first on the screen. */
export function useRowMetrics(job: Job): Series | undefined {
  const { data } = useQuery({
    ...metricsQuery(job.id, null, hasEnded(job)),
    enabled: job.progress.step > 0 && job.progress.step <= MOST_STEPS,
    refetchInterval: hasEnded(job) ? false : POLL_MS,
  });
  return data?.series;
}
