/** What belongs to a job and seldom changes: checkpoints, files, the adapter. */

import { queryOptions } from "@tanstack/react-query";

import { api, body } from "./client";
import type { Checkpoint } from "./types";

const ALL = 1000;

/** Those that are kept of a job, newest first. Its log tells of each: who follows that asks for them again. */
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
