import { useMutation, useQueryClient } from "@tanstack/react-query";

import { api, body } from "./client";
import type { CreateJob } from "./types";

/** Creates a job, or a sweep, which is one too. Attempts with the same key and request make one. */
export function useCreateJob(onCreated: (jobId: string) => void) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: async ({ request, key }: { request: CreateJob; key: string }) => {
      const options = { params: { header: { "idempotency-key": key } }, body: request as never };
      if (request.parameters) return (await body(api.POST("/v1/fine_tuning/sweeps", options))).job_id;
      const job = await body(api.POST("/v1/fine_tuning/jobs", options));
      client.setQueryData(["job", job.id], job);
      return job.id;
    },
    onSuccess: onCreated,
  });
}
