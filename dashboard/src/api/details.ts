/** What belongs to a job and seldom changes: checkpoints, files, the adapter. */

import { queryOptions } from "@tanstack/react-query";

import { api, body } from "./client";
import { type Checkpoint, hasEnded, type Job } from "./types";

const ALL = 1000;

/**
 * The ends of the epochs, newest first. Asked for again once the job has got into another epoch, or ended:
 * the key says so.
 */
export function checkpointsQuery(job: Job) {
  const state = hasEnded(job) ? job.status : Math.floor(job.progress.epoch);
  return queryOptions({
    queryKey: ["checkpoints", job.id, state],
    queryFn: async ({ signal }) => {
      const params = { path: { fine_tuning_job_id: job.id }, query: { limit: ALL } };
      const page = await body(api.GET("/v1/fine_tuning/jobs/{fine_tuning_job_id}/checkpoints", { params, signal }));
      return page.data;
    },
    staleTime: hasEnded(job) ? Infinity : 30_000,
    placeholderData: (before: unknown) => before as never,
  });
}

/** A file never changes; one that was deleted is a 404. */
export function fileQuery(id: string) {
  return queryOptions({
    queryKey: ["file", id],
    queryFn: ({ signal }) => body(api.GET("/v1/files/{file_id}", { params: { path: { file_id: id } }, signal })),
    staleTime: Infinity,
  });
}

export function adapterQuery(id: string) {
  return queryOptions({
    queryKey: ["adapter", id],
    queryFn: ({ signal }) =>
      body(api.GET("/v1/adapters/{adapter_id}", { params: { path: { adapter_id: id } }, signal })),
    staleTime: 30_000, // its job may be deleted meanwhile
  });
}

export const fileContentPath = (id: string) => `/v1/files/${encodeURIComponent(id)}/content`;
export const checkpointContentPath = ({ id, fine_tuning_job_id }: Checkpoint) =>
  `/v1/fine_tuning/jobs/${encodeURIComponent(fine_tuning_job_id)}/checkpoints/${encodeURIComponent(id)}/content`;
export const adapterContentPath = (id: string) => `/v1/adapters/${encodeURIComponent(id)}/content`;
