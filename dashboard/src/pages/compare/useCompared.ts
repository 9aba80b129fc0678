import { useQueries } from "@tanstack/react-query";

import { evalsOfJobQuery } from "@/api/evals/ofJob";
import { jobQuery } from "@/api/jobs/jobs";
import { metricsQuery } from "@/api/live/metrics";
import { type CriterionResult, hasEnded, type Job } from "@/api/types";
import type { Run } from "@/lib/charts/runs";
import { NO_SERIES } from "@/lib/charts/series";
import { resultsOf } from "@/lib/evals/chosenRuns";
import { jobName, stepsPerEpoch } from "@/lib/facts/jobFacts";

/** A job of the comparison, as far as it is known. */
export interface Compared {
  id: string;
  slot: number;
  job: Job | undefined;
  error: Error | null;
  run: Run;
  /** What the newest eval of the job's result found for the tuned model; empty if the job has none. */
  judged: readonly CriterionResult[];
}

/** Reads the jobs of the comparison and their metrics. `version` changes with each change of the metrics. */
export function useCompared(slots: readonly (string | null)[]): { compared: Compared[]; version: string } {
  const ids = slots.flatMap((id, slot) => (id === null ? [] : [{ id, slot }]));
  const jobs = useQueries({ queries: ids.map(({ id }) => jobQuery(id)) });
  const metrics = useQueries({
    queries: ids.map(({ id }, at) => {
      const job = jobs[at]?.data;
      return { ...metricsQuery(id, null, job !== undefined && hasEnded(job)), enabled: job !== undefined };
    }),
  });
  const evals = useQueries({
    queries: ids.map(({ id }, at) => evalsOfJobQuery(id, jobs[at]?.data?.status === "succeeded")),
  });
  const compared = ids.map(({ id, slot }, at) => {
    const { data: job, error = null } = jobs[at] ?? {};
    const series = metrics[at]?.data?.series ?? NO_SERIES;
    const judged = resultsOf(evals[at]?.data ?? []);
    return { id, slot, job, error, judged, run: { id, name: nameOf(job, id), slot, series, stepsPerEpoch: job ? stepsPerEpoch(job) : null } };
  });
  return { compared, version: compared.map(({ id, slot, run }) => `${id} ${slot} ${run.series.version}`).join() };
}

function nameOf(job: Job | undefined, id: string): string {
  return job ? jobName(job) : id;
}
