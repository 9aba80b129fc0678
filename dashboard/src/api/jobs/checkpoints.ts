import { queryOptions } from "@tanstack/react-query";

import { get, routeOf } from "@/api/routes";
import type { Checkpoint } from "@/types/api";

const ALL = 1000;
const CHECKPOINTS = "/v1/fine_tuning/jobs/{fine_tuning_job_id}/checkpoints";

/** The checkpoints that are kept of a job, newest first. The log names each new one, and the job's page then asks again. */
export function checkpointsQuery(jobId: string) {
  return queryOptions({
    queryKey: ["checkpoints", jobId],
    queryFn: async ({ signal }) => (await get(CHECKPOINTS, [jobId], { query: { limit: ALL }, signal })).data,
    staleTime: 30_000,
  });
}

export const checkpointContentPath = ({ id, fine_tuning_job_id }: Checkpoint) =>
  routeOf(`${CHECKPOINTS}/{checkpoint_id}/content`, [fine_tuning_job_id, id]);
