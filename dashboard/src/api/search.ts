/** Of a job that chooses among candidates: how it came to have them. */

import { queryOptions } from "@tanstack/react-query";

import { api, body } from "./client";
import { isNotFound } from "./failures";

export type JobSearchKind = "none" | "auto_rank" | "sweep";

/** The sweep of `ftjob-X` is `ftsweep-X`; a job with candidates and no sweep has an automatic rank. */
export function searchKindQuery(jobId: string) {
  return queryOptions({
    queryKey: ["search-kind", jobId],
    queryFn: async ({ signal }): Promise<JobSearchKind> => {
      const path = { fine_tuning_job_id: jobId };
      const { data } = await body(
        api.GET("/v1/fine_tuning/jobs/{fine_tuning_job_id}/candidates", { params: { path }, signal }),
      );
      if (!data.length) return "none";
      const sweep = { path: { sweep_id: jobId.replace(/^ftjob-/, "ftsweep-") } };
      try {
        await body(api.GET("/v1/fine_tuning/sweeps/{sweep_id}", { params: sweep, signal }));
        return "sweep";
      } catch (error) {
        if (isNotFound(error)) return "auto_rank";
        throw error;
      }
    },
    staleTime: Infinity,
  });
}
