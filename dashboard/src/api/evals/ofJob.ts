/** Requests about the evals that judge the result of a job. */

import { queryOptions, useMutation, useQueryClient } from "@tanstack/react-query";

import { api, body } from "@/api/client";
import { readAgain } from "@/api/readAgain";
import type { Job } from "@/api/types";
import { type JudgedEval, usualCriteria } from "@/lib/evals/chosenRuns";

import { LIST_KEY, OF_JOBS_KEY } from "./evals";
import { fetchRuns, isUnderWay } from "./runs";

const MOST_EVALS = 10;
const MOST_RUNS = 50;
const POLL_MS = 3000;
const ANY_ROW = { type: "custom", item_schema: { type: "object" }, include_sample_schema: true };

/** The evals of a job with their runs, newest first. A job has none before it has succeeded, so nothing is asked then. */
export function evalsOfJobQuery(jobId: string, hasSucceeded: boolean) {
  return queryOptions({
    queryKey: [...OF_JOBS_KEY, jobId],
    queryFn: async ({ signal }): Promise<JudgedEval[]> => {
      const query = { job_id: jobId, limit: MOST_EVALS, order: "desc" as const };
      const { data } = await body(api.GET("/v1/evals", { params: { query }, signal }));
      const runs = await Promise.all(data.map(({ id }) => fetchRuns(id, MOST_RUNS, null, signal)));
      return data.map((one, at) => ({ eval: one, runs: runs[at]?.data ?? [] }));
    },
    enabled: hasSucceeded,
    staleTime: 30_000,
    refetchInterval: ({ state }) => (state.data?.some(({ runs }) => runs.some(isUnderWay)) ? POLL_MS : false),
  });
}

/** Judges the base model and the result of a job on the job's validation file. A refused run leaves no eval behind. */
export function useEvaluate(job: Job) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: async () => {
      const wanted = {
        name: `Evaluation of ${job.id}`,
        job_id: job.id,
        data_source_config: ANY_ROW,
        testing_criteria: usualCriteria(job.method.type).map((type) => ({ type })),
      };
      const { id } = await body(api.POST("/v1/evals", { body: wanted as never }));
      try {
        await createRuns(id, job);
      } catch (error) {
        await api.DELETE("/v1/evals/{eval_id}", { params: { path: { eval_id: id } } }).catch(() => undefined); // what is shown is the first error
        throw error;
      }
    },
    onSettled: () => Promise.all([readAgain(client, LIST_KEY), readAgain(client, OF_JOBS_KEY)]),
  });
}

async function createRuns(evalId: string, job: Job): Promise<void> {
  const params = { path: { eval_id: evalId } };
  for (const [role, model] of [["base", job.base_model], ["tuned", job.fine_tuned_model]] as const) {
    const source = { type: "file_id", id: job.validation_file };
    const run = { metadata: { model: role }, data_source: { type: "completions", model, source } };
    await body(api.POST("/v1/evals/{eval_id}/runs", { params, body: run as never }));
  }
}
