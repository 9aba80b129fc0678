/** Requests about the content of a file: checks, conversions, and rows as training sees them. */

import { queryOptions, useMutation, useQueryClient } from "@tanstack/react-query";

import { api, body } from "@/api/client";
import { FILES_KEY } from "@/api/files/files";
import { readAgain } from "@/api/readAgain";

import { isUnderWay } from "./tasks";

const POLL_MS = 1000;

export interface CheckAsked {
  model?: string;
  mend?: boolean;
}

export interface PreviewAsked {
  model: string;
  lines: number[];
}

const checkKey = (fileId: string) => ["file", fileId, "check"] as const;
const conversionKey = (fileId: string) => ["file", fileId, "conversion"] as const;

/** The newest check of a file, or null. It is read again while it is under way. */
export function newestCheckQuery(fileId: string) {
  return queryOptions({
    queryKey: checkKey(fileId),
    queryFn: async ({ signal }) => {
      const path = { file_id: fileId };
      const list = api.GET("/v1/files/{file_id}/checks", { params: { path, query: { limit: 1 } }, signal });
      const [newest] = (await body(list)).data;
      if (!newest) return null;
      const params = { path: { ...path, check_id: newest.id } };
      return body(api.GET("/v1/files/{file_id}/checks/{check_id}", { params, signal }));
    },
    refetchInterval: ({ state: { data } }) => (data && isUnderWay(data) ? POLL_MS : false),
  });
}

/** The newest conversion of a file, or null. It is read again while it is under way. */
export function newestConversionQuery(fileId: string) {
  return queryOptions({
    queryKey: conversionKey(fileId),
    queryFn: async ({ signal }) => {
      const params = { path: { file_id: fileId }, query: { limit: 1 } };
      const list = api.GET("/v1/files/{file_id}/conversions", { params, signal });
      return (await body(list)).data[0] ?? null;
    },
    refetchInterval: ({ state: { data } }) => (data && isUnderWay(data) ? POLL_MS : false),
  });
}

export function useCreateCheck(fileId: string) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (asked: CheckAsked) =>
      body(api.POST("/v1/files/{file_id}/check", { params: { path: { file_id: fileId } }, body: asked as never })),
    onSuccess: () => readAgain(client, checkKey(fileId)),
  });
}

export function useConvert(fileId: string) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: () => body(api.POST("/v1/files/{file_id}/convert", { params: { path: { file_id: fileId } } })),
    onSuccess: () => Promise.all([readAgain(client, conversionKey(fileId)), readAgain(client, FILES_KEY)]),
  });
}

/** Shows rows as training sees them. Nothing changes, but a server has to render them. */
export function usePreviewRows(fileId: string) {
  return useMutation({
    mutationFn: (asked: PreviewAsked) =>
      body(api.POST("/v1/files/{file_id}/preview", { params: { path: { file_id: fileId } }, body: asked })),
  });
}
