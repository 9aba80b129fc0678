/** Requests about evals with their runs, and the request that judges a model and its base on a file. */

import { queryOptions, useMutation, useQueryClient } from "@tanstack/react-query";

import { JUDGED_KEY } from "@/api/keys";
import { readAgain } from "@/api/readAgain";
import { get, post, remove } from "@/api/routes";
import { isUnderWay, readWork } from "@/api/work/work";
import type { Criteria, JudgedEval } from "@/lib/evals/chosenRuns";
import type { CreateEval } from "@/types/api";

import { LIST_KEY } from "./evals";

const MOST_EVALS = 10;
const MOST_RUNS = 50;
const POLL_MS = 3000;
const ANY_ROW = { type: "custom", item_schema: { type: "object" }, include_sample_schema: true } as const;

/** The newest evals of a job, or those with a run of a model, with their runs. They are read again while a run is under way. */
export function judgedQuery(of: { job_id: string } | { model: string }) {
  return queryOptions({
    queryKey: [...JUDGED_KEY, of],
    queryFn: async ({ signal }): Promise<JudgedEval[]> => {
      const query = { ...of, limit: MOST_EVALS, order: "desc" as const };
      const { data } = await get("/v1/evals", [], { query, signal });
      const runs = await Promise.all(data.map(({ id }) => readWork("run", [id], { limit: MOST_RUNS }, signal)));
      return data.map((one, at) => ({ eval: one, runs: runs[at]?.data ?? [] }));
    },
    staleTime: 30_000,
    refetchInterval: ({ state }) => (state.data?.some(({ runs }) => runs.some(isUnderWay)) ? POLL_MS : false),
  });
}

/** What is judged: the model and its base, on the rows of a file. */
export interface Evaluation {
  name: string;
  job_id?: string;
  base: string;
  tuned: string;
  criteria: Criteria;
  file: string;
  /** Only the first rows of the file; without it, all. */
  rows?: number;
}

/** Creates an eval with a run of the base and a run of the model. A refused run leaves no eval behind. */
export function useEvaluate() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: async (evaluation: Evaluation) => {
      const wanted: CreateEval = {
        name: evaluation.name,
        ...(evaluation.job_id !== undefined && { job_id: evaluation.job_id }),
        data_source_config: ANY_ROW,
        testing_criteria: evaluation.criteria,
      };
      const { id } = await post("/v1/evals", [], wanted);
      try {
        await createRuns(id, evaluation);
      } catch (error) {
        await remove("/v1/evals/{eval_id}", [id]).catch(() => undefined); // what is shown is the first error
        throw error;
      }
    },
    onSettled: () => Promise.all([readAgain(client, LIST_KEY), readAgain(client, JUDGED_KEY)]),
  });
}

async function createRuns(evalId: string, { base, tuned, file, rows }: Evaluation): Promise<void> {
  const source = { type: "file_id" as const, id: file, ...(rows !== undefined && { limit: rows }) };
  for (const [role, model] of [["base", base], ["tuned", tuned]] as const) {
    const run = { metadata: { model: role }, data_source: { type: "completions" as const, model, source } };
    await post("/v1/evals/{eval_id}/runs", [evalId], run);
  }
}
