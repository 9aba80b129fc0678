import { type QueryClient, useMutation, useQueryClient } from "@tanstack/react-query";

import { post } from "@/api/routes";
import type { CreateJob } from "@/types/api";

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
  const headers = { "idempotency-key": key };
  const { parameters } = request;
  if (parameters) return (await post("/v1/fine_tuning/sweeps", [], { ...request, parameters }, { headers })).job_id;
  const job = await post("/v1/fine_tuning/jobs", [], request, { headers });
  client.setQueryData(["job", job.id], job);
  return job.id;
}
