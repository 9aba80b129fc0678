import { useQuery } from "@tanstack/react-query";

import { metricsQuery } from "@/api/live/metrics";
import { hasEnded, type Job } from "@/api/types";
import type { Series } from "@/lib/charts/series";

const MOST_STEPS = 5000; // to thin more costs the database what a small curve is not worth
const POLL_MS = 30_000; // of what nobody reads off to the step

/** The metrics of a row's job, where that is a short one. Read once the row is seen. */
export function useRowMetrics(job: Job): Series | undefined {
  const { data } = useQuery({
    ...metricsQuery(job.id, null, hasEnded(job)),
    enabled: job.progress.step > 0 && job.progress.step <= MOST_STEPS,
    refetchInterval: hasEnded(job) ? false : POLL_MS,
  });
  return data?.series;
}
