/** Requests about the losses of a job's rows, and about copies of its files without some of them. */

import { queryOptions, useMutation } from "@tanstack/react-query";

import { api, body } from "@/api/client";
import { pageQuery, usePaged } from "@/api/paged";
import { isUnderWay, TASK_POLL_MS } from "@/api/project/tasks";

const PAGE = 20;

export const ROW_ORDERS = {
  likely_mislabelled: "Likely mislabelled",
  hardest: "Hardest",
  most_changed: "Most changed",
  most_forgotten: "Most forgotten",
} as const;
export type RowOrder = keyof typeof ROW_ORDERS;

export const ROW_PARTS = ["training", "validation"] as const;
export type RowPart = (typeof ROW_PARTS)[number];

/** `status` is the job's: when the job ends, its rows have other losses. */
export function useRowLosses(jobId: string, status: string, order: RowOrder, part: RowPart) {
  const read = (after: string | null, signal: AbortSignal) => {
    const query = { order, part, ...pageQuery(PAGE, after) };
    const params = { path: { fine_tuning_job_id: jobId }, query };
    return body(api.GET("/v1/fine_tuning/jobs/{fine_tuning_job_id}/rows", { params, signal }));
  };
  return usePaged(["rows", jobId, status, order, part], read, { keepsItems: true });
}

/** Starts a check that makes a copy of a file without some lines. Returns the check. */
export function useLeaveOut() {
  return useMutation({
    mutationFn: ({ fileId, lines }: { fileId: string; lines: number[] }) =>
      body(
        api.POST("/v1/files/{file_id}/check", {
          params: { path: { file_id: fileId } },
          body: { mend: true, leave_out: lines },
        }),
      ),
  });
}

/** A check of a file, read again until it has ended. */
export function fileCheckQuery(fileId: string, checkId: string) {
  return queryOptions({
    queryKey: ["file check", fileId, checkId],
    queryFn: ({ signal }) =>
      body(
        api.GET("/v1/files/{file_id}/checks/{check_id}", {
          params: { path: { file_id: fileId, check_id: checkId } },
          signal,
        }),
      ),
    refetchInterval: ({ state }) => (state.data && !isUnderWay(state.data) ? false : TASK_POLL_MS),
  });
}
