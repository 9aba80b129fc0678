/** Adapters: the list, what one's folder says of it, its ranks. */

import { queryOptions, useMutation, useQueryClient } from "@tanstack/react-query";

import type { Manifest } from "@/lib/facts/adapterFacts";

import { api, ask, body } from "@/api/client";
import { isNotFound } from "@/api/failures";
import { pageQuery, usePaged } from "@/api/paged";
import type { Adapter } from "@/api/types";

const PAGE = 50;
const LIST_KEY = ["adapters"] as const;

export function useAdapters() {
  return usePaged(LIST_KEY, (after, signal) =>
    body(api.GET("/v1/adapters", { params: { query: pageQuery(PAGE, after) }, signal })),
  );
}

export const adapterFilePath = (id: string, name: string) =>
  `/v1/adapters/${encodeURIComponent(id)}/files/${encodeURIComponent(name)}`;

/** The adapter cut to its first ranks. */
export const cutAdapterPath = (id: string, rank: number) => `/v1/adapters/${encodeURIComponent(id)}/content?rank=${rank}`;

/** Which base model and which data it was made of; null where it has no manifest. */
export function manifestQuery(adapter: Adapter) {
  return queryOptions({
    queryKey: ["adapter", adapter.id, "manifest"],
    queryFn: async ({ signal }): Promise<Manifest | null> => {
      const answer = await fileOf(adapter, "manifest.json", signal);
      return answer && ((await answer.json()) as Manifest);
    },
    staleTime: Infinity,
  });
}

/** Its model card, which says how it is loaded. */
export function cardQuery(adapter: Adapter) {
  return queryOptions({
    queryKey: ["adapter", adapter.id, "card"],
    queryFn: async ({ signal }) => (await (await fileOf(adapter, "README.md", signal))?.text()) ?? "",
    staleTime: Infinity,
  });
}

async function fileOf(adapter: Adapter, name: string, signal: AbortSignal): Promise<Response | null> {
  return ask(adapterFilePath(adapter.id, name), { signal }).catch((error: unknown) => {
    if (isNotFound(error)) return null;
    throw error;
  });
}

/** The loss at each rank, of an adapter that can be cut; of others an empty list. */
export function ranksQuery(id: string) {
  return queryOptions({
    queryKey: ["adapter", id, "ranks"],
    queryFn: async ({ signal }) => {
      const path = { adapter_id: id };
      return (await body(api.GET("/v1/adapters/{adapter_id}/ranks", { params: { path }, signal }))).data;
    },
    staleTime: Infinity,
  });
}

export function useDeleteAdapter() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (id: string) =>
      body(api.DELETE("/v1/adapters/{adapter_id}", { params: { path: { adapter_id: id } } })),
    onSuccess: async (_, id) => {
      client.removeQueries({ queryKey: ["adapter", id] });
      await client.invalidateQueries({ queryKey: LIST_KEY });
    },
  });
}
