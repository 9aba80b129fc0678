import { useMutation, useQueryClient } from "@tanstack/react-query";

import { api, body } from "./client";
import type { CreateJob, Job } from "./types";

/** Creates a job. Attempts with the same key and request make one. */
export function useCreateJob(onCreated: (job: Job) => void) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: ({ request, key }: { request: CreateJob; key: string }) =>
      body(
        api.POST("/v1/fine_tuning/jobs", {
          params: { header: { "idempotency-key": key } },
          body: request as never,
        }),
      ),
    onSuccess: (job) => {
      client.setQueryData(["job", job.id], job);
      onCreated(job);
    },
  });
}
