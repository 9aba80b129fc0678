import { queryOptions } from "@tanstack/react-query";

import { isNotFound } from "@/api/failures";
import { get } from "@/api/routes";
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
      const { data } = await get("/v1/fine_tuning/jobs/{fine_tuning_job_id}/candidates", [jobId], { signal });
      if (!data.length) return { kind: "none", tried: null };
      const sweep = jobId.replace(/^ftjob-/, "ftsweep-");
      try {
        const { parameters } = await get("/v1/fine_tuning/sweeps/{sweep_id}", [sweep], { signal });
        return { kind: "sweep", tried: parameters as Tried };
      } catch (error) {
        if (isNotFound(error)) return { kind: "auto_rank", tried: null };
        throw error;
      }
    },
    staleTime: Infinity,
  });
}
