import { useQueries } from "@tanstack/react-query";

import { judgedQuery } from "@/api/evals/judged";
import { jobQuery } from "@/api/jobs/jobs";
import { samplesQuery } from "@/api/jobs/samples";
import { metricsQuery } from "@/api/live/metrics";
import { isSettled } from "@/api/settled";
import type { Training } from "@/lib/charts/trainings";
import { NO_SERIES } from "@/lib/charts/series";
import { resultsOf } from "@/lib/evals/chosenRuns";
import { hasEnded, jobName, stepsPerEpoch } from "@/lib/facts/jobFacts";
import { type Evaluation, samplesOf } from "@/lib/facts/samples";
import type { CriterionResult, Job } from "@/types/api";

/** A job of the comparison, as far as it is known. */
export interface Compared {
  id: string;
  styleIndex: number;
  job: Job | undefined;
  error: Error | null;
  training: Training;
  /** What the newest eval of the job's result found for the tuned model; empty if the job has none. */
  judged: readonly CriterionResult[];
  /** The model's last answers to validation prompts; undefined if it has given none. */
  answers: Evaluation | undefined;
}

interface Comparison {
  compared: Compared[];
  /** It changes with each change of the metrics. */
  version: string;
  /** Whether everything has been read, or has failed once. */
  isRead: boolean;
}

/** Reads the jobs of the comparison, their metrics, evals and answers. */
export function useCompared(positions: readonly (string | null)[]): Comparison {
  const ids = positions.flatMap((id, styleIndex) => (id === null ? [] : [{ id, styleIndex }]));
  const jobs = useQueries({ queries: ids.map(({ id }) => jobQuery(id)) });
  const metrics = useQueries({
    queries: ids.map(({ id }, at) => {
      const job = jobs[at]?.data;
      return { ...metricsQuery(id, null, job !== undefined && hasEnded(job)), enabled: job !== undefined };
    }),
  });
  const evals = useQueries({
    queries: ids.map(({ id }, at) => ({ ...judgedQuery({ job_id: id }), enabled: jobs[at]?.data?.status === "succeeded" })),
  });
  const samples = useQueries({
    queries: ids.map(({ id }, at) => {
      const job = jobs[at]?.data;
      return job ? samplesQuery(job) : { queryKey: ["no samples", id], queryFn: () => [], enabled: false };
    }),
  });
  const compared = ids.map(({ id, styleIndex }, at) => {
    const { data: job, error = null } = jobs[at] ?? {};
    const series = metrics[at]?.data?.series ?? NO_SERIES;
    const judged = resultsOf(evals[at]?.data ?? []);
    const answers = samplesOf(samples[at]?.data ?? []).at(-1);
    const training = { id, name: nameOf(job, id), styleIndex, series, stepsPerEpoch: job ? stepsPerEpoch(job) : null };
    return { id, styleIndex, job, error, judged, answers, training };
  });
  const version = compared.map(({ id, styleIndex, training }) => `${id} ${styleIndex} ${training.series.version}`).join();
  return { compared, version, isRead: [...jobs, ...metrics, ...evals, ...samples].every(isSettled) };
}

function nameOf(job: Job | undefined, id: string): string {
  return job ? jobName(job) : id;
}
