import { api, body } from "@/api/client";
import { EVALS_KEY } from "@/api/keys";
import { pageQuery, usePaged } from "@/api/paged";
import type { EvalRun } from "@/types/api";

const PAGE = 10;

/** The rows that a run could not judge, each with the reason. */
export function useFailedRows(run: EvalRun) {
  return usePaged([...EVALS_KEY, "failed rows", run.eval_id, run.id], (after, signal) => {
    const params = {
      path: { eval_id: run.eval_id, run_id: run.id },
      query: { ...pageQuery(PAGE, after), status: "error" as const },
    };
    return body(api.GET("/v1/evals/{eval_id}/runs/{run_id}/output_items", { params, signal }));
  });
}
