import { useQueries } from "@tanstack/react-query";

import { jobQuery } from "@/api/jobs/jobs";
import { metricsQuery } from "@/api/live/metrics";
import { hasEnded, type Job } from "@/api/types";
import { jobName, stepsPerEpoch } from "@/lib/facts/jobFacts";
import type { Run } from "@/lib/charts/runs";
import { Series } from "@/lib/charts/series";

/** A job of the selection, as far as it is known. */
export interface Compared {
  id: string;
  place: number;
  job: Job | undefined;
  error: Error | null;
  run: Run;
}

export function useCompared(places: readonly (string | null)[]): { compared: Compared[]; version: string } {
  const ids = places.flatMap((id, place) => (id === null ? [] : [{ id, place }]));
  const jobs = useQueries({ queries: ids.map(({ id }) => jobQuery(id)) });
  const metrics = useQueries({
    queries: ids.map(({ id }, at) => {
      const job = jobs[at]?.data;
      return { ...metricsQuery(id, null, job !== undefined && hasEnded(job)), enabled: job !== undefined };
    }),
  });
  const compared = ids.map(({ id, place }, at) => {
    const { data: job, error = null } = jobs[at] ?? {};
    const series = metrics[at]?.data?.series ?? NO_SERIES;
    return { id, place, job, error, run: { id, name: nameOf(job, id), place, series, stepsPerEpoch: job ? stepsPerEpoch(job) : null } };
  });
  return { compared, version: compared.map(({ id, place, run }) => `${id} ${place} ${run.series.version}`).join() };
}

const NO_SERIES = new Series();

function nameOf(job: Job | undefined, id: string): string {
  return job ? jobName(job) : id;
}
