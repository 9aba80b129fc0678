/** Requests about exports: other forms of an adapter, which the service makes on demand. */

import { useMutation, useQueryClient } from "@tanstack/react-query";

import { api, body } from "@/api/client";
import { pageQuery, usePaged } from "@/api/paged";
import { readAgain } from "@/api/readAgain";
import type { Export, ExportRequest } from "@/api/types";

import { isUnderWay, TASK_POLL_MS } from "./tasks";

const PAGE = 20;

const keyOf = (adapterId: string) => ["adapter", adapterId, "exports"] as const;

/** The adapter's exports, newest first. They are read again while one of them is under way. */
export function useExports(adapterId: string) {
  return usePaged(
    keyOf(adapterId),
    (after, signal) => {
      const params = { path: { adapter_id: adapterId }, query: pageQuery(PAGE, after) };
      return body(api.GET("/v1/adapters/{adapter_id}/exports", { params, signal }));
    },
    { refetchWhile: (exports) => exports.some(isUnderWay), everyMs: TASK_POLL_MS },
  );
}

export const exportContentPath = ({ id, adapter_id }: Export) =>
  `/v1/adapters/${encodeURIComponent(adapter_id)}/exports/${encodeURIComponent(id)}/content`;

export function useCreateExport(adapterId: string) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (asked: ExportRequest) =>
      body(
        api.POST("/v1/adapters/{adapter_id}/exports", {
          params: { path: { adapter_id: adapterId } },
          body: asked as never,
        }),
      ),
    onSuccess: () => readAgain(client, keyOf(adapterId)),
  });
}

/** Cancels an export that is under way, and deletes one that has ended. */
export function useRemoveExport() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: async (removed: Export) => {
      const params = { path: { adapter_id: removed.adapter_id, export_id: removed.id } };
      if (isUnderWay(removed)) {
        await body(api.POST("/v1/adapters/{adapter_id}/exports/{export_id}/cancel", { params }));
      } else {
        await body(api.DELETE("/v1/adapters/{adapter_id}/exports/{export_id}", { params }));
      }
    },
    onSettled: (_data, _error, removed) => readAgain(client, keyOf(removed.adapter_id)),
  });
}
