/** Requests about two runs of an eval, compared with each other. */

import { queryOptions } from "@tanstack/react-query";

import { api, body } from "@/api/client";
import { EVALS_KEY } from "@/api/keys";
import { pageQuery, usePaged } from "@/api/paged";
import { isUnderWay } from "@/api/work/work";
import { chosenRuns, type JudgedEval } from "@/lib/evals/chosenRuns";

const PAGE = 10;

/** The rows that a summary shows, of each direction. */
export const MOST_CHANGED = 3;

/** Two completed runs. What they found never changes. */
export interface Pair {
  evalId: string;
  base: string;
  tuned: string;
}

/** Returns the runs of an eval that are compared; null while one of its runs is under way. */
export function pairOf(judged: JudgedEval): Pair | null {
  const { base, tuned } = chosenRuns(judged.runs);
  if (!base || !tuned || judged.runs.some(isUnderWay)) return null;
  return { evalId: judged.eval.id, base: base.id, tuned: tuned.id };
}

export type Change = "better" | "worse";

export function comparisonQuery({ evalId, base, tuned }: Pair) {
  return queryOptions({
    queryKey: [...EVALS_KEY, "comparison", evalId, base, tuned],
    queryFn: ({ signal }) => {
      const params = { path: { eval_id: evalId }, query: { base, tuned } };
      return body(api.GET("/v1/evals/{eval_id}/compare", { params, signal }));
    },
    staleTime: Infinity,
  });
}

/** The rows that the tuned model does better or worse by a criterion, the largest change first. */
export function useChangedRows({ evalId, base, tuned }: Pair, criterion: string, change: Change, { page = PAGE, enabled = true } = {}) {
  return usePaged([...EVALS_KEY, "changed rows", evalId, base, tuned, criterion, change, page], (after, signal) => {
    const query = { base, tuned, criterion, change, ...pageQuery(page, after) };
    return body(api.GET("/v1/evals/{eval_id}/compare/rows", { params: { path: { eval_id: evalId }, query }, signal }));
  }, { enabled, staleTime: Infinity });
}
