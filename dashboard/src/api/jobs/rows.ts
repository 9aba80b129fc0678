/** Requests about the losses of a job's rows. */

import { api, body } from "@/api/client";
import { pageQuery, usePaged } from "@/api/paged";

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
