/** Requests about the runs of an eval, and about the rows that a run could not judge. */

import { queryOptions, useMutation, useQueryClient } from "@tanstack/react-query";

import { api, body } from "@/api/client";
import { pageQuery, usePaged } from "@/api/paged";
import { readAgain } from "@/api/readAgain";
import type { EvalRun } from "@/api/types";

import { EVALS_KEY, JUDGED_KEY } from "./evals";

const PAGE = 50;
const FAILED_ROWS = 10;
const POLL_MS = 3000;

const keyOf = (evalId: string) => [...EVALS_KEY, "runs", evalId] as const;

export const isUnderWay = ({ status }: EvalRun): boolean => status === "queued" || status === "in_progress";

/** The runs of an eval, newest first. They are read again while one of them is under way. */
export function useEvalRuns(evalId: string) {
  return usePaged(keyOf(evalId), (after, signal) => fetchRuns(evalId, PAGE, after, signal), {
    refetchWhile: (runs) => runs.some(isUnderWay),
    everyMs: POLL_MS,
  });
}

/** The newest run of an eval; null if there is none. */
export function newestRunQuery(evalId: string) {
  return queryOptions({
    queryKey: [...keyOf(evalId), "newest"],
    queryFn: async ({ signal }) => (await fetchRuns(evalId, 1, null, signal)).data[0] ?? null,
    refetchInterval: ({ state }) => (state.data && isUnderWay(state.data) ? POLL_MS : false),
  });
}

export function fetchRuns(evalId: string, limit: number, after: string | null, signal: AbortSignal) {
  const query = { ...pageQuery(limit, after), order: "desc" as const };
  return body(api.GET("/v1/evals/{eval_id}/runs", { params: { path: { eval_id: evalId }, query }, signal }));
}

/** Cancels a run that is under way, and deletes one that has ended. */
export function useRemoveRun() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: async (run: EvalRun) => {
      const params = { path: { eval_id: run.eval_id, run_id: run.id } };
      if (isUnderWay(run)) await body(api.POST("/v1/evals/{eval_id}/runs/{run_id}/cancel", { params }));
      else await body(api.DELETE("/v1/evals/{eval_id}/runs/{run_id}", { params }));
    },
    onSettled: (_, __, { eval_id }) =>
      Promise.all([readAgain(client, keyOf(eval_id)), readAgain(client, JUDGED_KEY)]), // comparisons never change
  });
}

/** The rows that a run could not judge, each with the reason. */
export function useFailedRows(run: EvalRun) {
  return usePaged([...keyOf(run.eval_id), "failed rows", run.id], (after, signal) => {
    const params = {
      path: { eval_id: run.eval_id, run_id: run.id },
      query: { ...pageQuery(FAILED_ROWS, after), status: "error" as const },
    };
    return body(api.GET("/v1/evals/{eval_id}/runs/{run_id}/output_items", { params, signal }));
  });
}
