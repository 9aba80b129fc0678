import { queryOptions } from "@tanstack/react-query";

import { api, body } from "@/api/client";
import type { Checkpoint } from "@/types/api";

const ALL = 1000;

/** The checkpoints that are kept of a job, newest first. The log names each new one, and the job's page then asks again. */
export function checkpointsQuery(jobId: string) {
  return queryOptions({
    queryKey: ["checkpoints", jobId],
    queryFn: async ({ signal }) => {
      const params = { path: { fine_tuning_job_id: jobId }, query: { limit: ALL } };
      const page = await body(api.GET("/v1/fine_tuning/jobs/{fine_tuning_job_id}/checkpoints", { params, signal }));
      return page.data;
    },
    staleTime: 30_000,
  });
}

export const checkpointContentPath = ({ id, fine_tuning_job_id }: Checkpoint) =>
  `/v1/fine_tuning/jobs/${encodeURIComponent(fine_tuning_job_id)}/checkpoints/${encodeURIComponent(id)}/content`;
