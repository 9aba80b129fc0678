/** Requests about the losses of a job's rows. */

import { usePages } from "@/api/paged";

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
  const options = { query: { order, part }, limit: PAGE, keepsItems: true };
  return usePages(["rows", jobId, status, order, part], "/v1/fine_tuning/jobs/{fine_tuning_job_id}/rows", [jobId], options);
}
