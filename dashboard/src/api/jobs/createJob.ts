import { type QueryClient, useMutation, useQueryClient } from "@tanstack/react-query";

import { api, body } from "@/api/client";
import type { CreateJob } from "@/api/types";

/** Creates a job, or a sweep, which is a job too. Several attempts with the same key and request make one job. */
export function useCreateJob(onCreated: (jobId: string) => void) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: ({ request, key }: { request: CreateJob; key: string }) => createJob(client, request, key),
    onSuccess: onCreated,
  });
}

/** Creates a job and returns its id. Raises Refused or Unreachable. */
export async function createJob(client: QueryClient, request: CreateJob, key: string): Promise<string> {
  const options = { params: { header: { "idempotency-key": key } }, body: request as never };
  if (request.parameters) return (await body(api.POST("/v1/fine_tuning/sweeps", options))).job_id;
  const job = await body(api.POST("/v1/fine_tuning/jobs", options));
  client.setQueryData(["job", job.id], job);
  return job.id;
}
