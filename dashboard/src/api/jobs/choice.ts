import { queryOptions } from "@tanstack/react-query";

import { api, body } from "@/api/client";
import { isNotFound } from "@/api/failures";
import type { Choice } from "@/lib/newJob/draftOfJob";
import type { Tried } from "@/lib/newJob/sweepDraft";

/**
 * Why a job has candidates. The sweep of the job `ftjob-X` has the id `ftsweep-X`. A job with candidates that has no
 * sweep has an automatic rank.
 */
export function choiceQuery(jobId: string) {
  return queryOptions({
    queryKey: ["choice", jobId],
    queryFn: async ({ signal }): Promise<Choice> => {
      const path = { fine_tuning_job_id: jobId };
      const { data } = await body(
        api.GET("/v1/fine_tuning/jobs/{fine_tuning_job_id}/candidates", { params: { path }, signal }),
      );
      if (!data.length) return { kind: "none", tried: null };
      const sweep = { path: { sweep_id: jobId.replace(/^ftjob-/, "ftsweep-") } };
      try {
        const { parameters } = await body(api.GET("/v1/fine_tuning/sweeps/{sweep_id}", { params: sweep, signal }));
        return { kind: "sweep", tried: parameters as Tried };
      } catch (error) {
        if (isNotFound(error)) return { kind: "auto_rank", tried: null };
        throw error;
      }
    },
    staleTime: Infinity,
  });
}
