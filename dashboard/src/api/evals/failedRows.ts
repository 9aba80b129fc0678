import { EVALS_KEY } from "@/api/keys";
import { usePages } from "@/api/paged";
import type { EvalRun } from "@/types/api";

const PAGE = 10;

/** The rows that a run could not judge, each with the reason. */
export function useFailedRows(run: EvalRun) {
  const ids = [run.eval_id, run.id];
  const options = { query: { status: "error" }, limit: PAGE } as const;
  return usePages([...EVALS_KEY, "failed rows", ...ids], "/v1/evals/{eval_id}/runs/{run_id}/output_items", ids, options);
}
