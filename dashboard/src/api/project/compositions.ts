/** Requests about compositions: adapters that the service makes of several others. */

import { useMutation, useQueryClient } from "@tanstack/react-query";

import { api, body } from "@/api/client";
import { pageQuery, usePaged } from "@/api/paged";
import { readAgain } from "@/api/readAgain";
import type { ComposeRequest, Composition } from "@/api/types";

import { isUnderWay, TASK_POLL_MS } from "./tasks";

const PAGE = 20;
const KEY = ["compositions"] as const;

/** The project's compositions, newest first. They are read again while one of them is under way. */
export function useCompositions() {
  return usePaged(
    KEY,
    (after, signal) => body(api.GET("/v1/adapters/compositions", { params: { query: pageQuery(PAGE, after) }, signal })),
    { refetchWhile: (compositions) => compositions.some(isUnderWay), everyMs: TASK_POLL_MS },
  );
}

export function useCompose() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (asked: ComposeRequest) => body(api.POST("/v1/adapters/compose", { body: asked as never })),
    onSuccess: () => readAgain(client, KEY),
  });
}

/** Cancels a composition that is under way, and deletes the record of one that has ended. Its adapter stays. */
export function useRemoveComposition() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: async (removed: Composition) => {
      const params = { path: { composition_id: removed.id } };
      if (isUnderWay(removed)) await body(api.POST("/v1/adapters/compositions/{composition_id}/cancel", { params }));
      else await body(api.DELETE("/v1/adapters/compositions/{composition_id}", { params }));
    },
    onSettled: () => readAgain(client, KEY),
  });
}
