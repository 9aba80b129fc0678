/** Requests about graders: whether one can be used, and which reward it gives an answer. */

import { queryOptions, useMutation } from "@tanstack/react-query";

import { post } from "@/api/routes";
import type { Grader, GraderRun } from "@/types/api";

const GRADERS = "/v1/fine_tuning/alpha/graders";

/** Asks whether the grader can be used. A grader that cannot is refused with the reason. */
export function graderCheckQuery(grader: Grader) {
  return queryOptions({
    queryKey: ["grader-check", grader],
    queryFn: ({ signal }) => post(`${GRADERS}/validate`, [], { grader }, { signal }),
    staleTime: Infinity,
  });
}

export interface Tried {
  grader: Grader;
  /** The answer to reward. */
  model_sample: string;
  /** The row of the dataset. */
  item: unknown;
}

/** Grades one answer. Nothing is stored. */
export function useTryGrader() {
  return useMutation({ mutationFn: (tried: Tried): Promise<GraderRun> => post(`${GRADERS}/run`, [], tried) });
}
