/** Requests about two runs of an eval, compared with each other. */

import { queryOptions } from "@tanstack/react-query";

import { api, body } from "@/api/client";
import { pageQuery, usePaged } from "@/api/paged";

import { EVALS_KEY } from "./evals";

const PAGE = 10;

/** Two completed runs. What they found never changes. */
export interface Pair {
  evalId: string;
  base: string;
  tuned: string;
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
export function useChangedRows({ evalId, base, tuned }: Pair, criterion: string, change: Change) {
  return usePaged([...EVALS_KEY, "changed rows", evalId, base, tuned, criterion, change], (after, signal) => {
    const query = { base, tuned, criterion, change, ...pageQuery(PAGE, after) };
    return body(api.GET("/v1/evals/{eval_id}/compare/rows", { params: { path: { eval_id: evalId }, query }, signal }));
  });
}
