/** Requests about two runs of an eval, compared with each other. */

import { queryOptions } from "@tanstack/react-query";

import { EVALS_KEY } from "@/api/keys";
import { usePages } from "@/api/paged";
import { get } from "@/api/routes";
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
    queryFn: ({ signal }) => get("/v1/evals/{eval_id}/compare", [evalId], { query: { base, tuned }, signal }),
    staleTime: Infinity,
  });
}

/** The rows that the tuned model does better or worse by a criterion, the largest change first. */
export function useChangedRows({ evalId, base, tuned }: Pair, criterion: string, change: Change, { page = PAGE, enabled = true } = {}) {
  const key = [...EVALS_KEY, "changed rows", evalId, base, tuned, criterion, change, page];
  const query = { base, tuned, criterion, change };
  return usePages(key, "/v1/evals/{eval_id}/compare/rows", [evalId], { query, limit: page, enabled, staleTime: Infinity });
}
