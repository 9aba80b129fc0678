/** Requests about adapters: the list, one adapter, the files in its folder, its ranks, its deletion. */

import { queryOptions, useMutation, useQueries, useQueryClient } from "@tanstack/react-query";

import { ask } from "@/api/client";
import { isNotFound } from "@/api/failures";
import { adapterKey } from "@/api/keys";
import { JUST_READ_MS, usePages } from "@/api/paged";
import { readAgain } from "@/api/readAgain";
import { get, remove, routeOf } from "@/api/routes";
import type { Manifest } from "@/lib/facts/adapterFacts";
import { partsOf } from "@/lib/lineage/graph";
import type { Adapter, Export } from "@/types/api";

const ALIASES = 1000;
const MOST_PARTS_OFFERED = 1000;
const CARD = "README.md";
const LIST_KEY = ["adapters"] as const;
const ADAPTER = "/v1/adapters/{adapter_id}";

export const useAdapters = () => usePages(LIST_KEY, "/v1/adapters");

export function adapterQuery(id: string) {
  return queryOptions({
    queryKey: adapterKey(id),
    queryFn: ({ signal }) => get(ADAPTER, [id], { signal }),
    staleTime: 30_000, // its job may be deleted meanwhile
  });
}

/** The newest LoRA adapters of the project: only LoRA can be composed. */
export function loraAdaptersQuery() {
  return queryOptions({
    queryKey: [...LIST_KEY, "lora"],
    queryFn: async ({ signal }) => {
      const { data } = await get("/v1/adapters", [], { query: { limit: MOST_PARTS_OFFERED }, signal });
      return data.filter(({ type }) => type === "lora");
    },
  });
}

export const adapterContentPath = (id: string) => routeOf(`${ADAPTER}/content`, [id]);

export const adapterFilePath = (id: string, name: string) => routeOf(`${ADAPTER}/files/{name}`, [id, name]);

export const exportContentPath = ({ id, adapter_id }: Export) =>
  routeOf(`${ADAPTER}/exports/{export_id}/content`, [adapter_id, id]);

/** The address of the adapter cut to a smaller rank. */
export const cutAdapterPath = (id: string, rank: number) => routeOf(`${ADAPTER}/content`, [id], { rank });

/** The manifest, which names the base model and the data of an adapter; null if the adapter has none. */
export function manifestQuery(adapter: Adapter) {
  return queryOptions({
    queryKey: [...adapterKey(adapter.id), "manifest"],
    queryFn: async ({ signal }): Promise<Manifest | null> => {
      const answer = await fileOf(adapter, "manifest.json", signal);
      return answer && ((await answer.json()) as Manifest);
    },
    staleTime: Infinity,
  });
}

/** The model card, which says how to load the adapter. */
export function cardQuery(adapter: Adapter) {
  const hash = adapter.files.find(({ name }) => name === CARD)?.sha256;
  return queryOptions({
    queryKey: [...adapterKey(adapter.id), "card", hash],
    queryFn: async ({ signal }) => (await (await fileOf(adapter, CARD, signal))?.text()) ?? "",
    staleTime: Infinity,
  });
}

async function fileOf(adapter: Adapter, name: string, signal: AbortSignal): Promise<Response | null> {
  return ask(adapterFilePath(adapter.id, name), { signal }).catch((error: unknown) => {
    if (isNotFound(error)) return null;
    throw error;
  });
}

/** The loss at each rank that the adapter can be cut to. The list is empty for an adapter that cannot be cut. */
export function ranksQuery(id: string) {
  return queryOptions({
    queryKey: [...adapterKey(id), "ranks"],
    queryFn: async ({ signal }) => (await get(`${ADAPTER}/ranks`, [id], { signal })).data,
    staleTime: Infinity,
  });
}

/** The jobs that continue from the adapter itself, newest first. */
export const useDescendants = (id: string) =>
  usePages([...adapterKey(id), "descendants"], `${ADAPTER}/descendants`, [id]);

/** The adapters that were composed of this one, newest first. */
export const useComposed = (id: string) =>
  usePages([...adapterKey(id), "composed"], "/v1/adapters", [], { query: { part: id } });

/** The adapters that an adapter was composed of, and their own parts, as far as they are read and still there. */
export function useParts(adapter: Adapter): ReadonlyMap<string, Adapter> {
  const client = useQueryClient();
  const ids = partsOf(adapter, (id) => client.getQueryData(adapterQuery(id).queryKey));
  return useQueries({ queries: ids.map(adapterQuery), combine: byId });
}

const byId = (found: readonly { data: Adapter | undefined }[]) =>
  new Map(found.flatMap(({ data }) => (data ? [[data.id, data] as const] : [])));

/** The names of the project's aliases that lead to a model. */
export function aliasesQuery(model: string) {
  return queryOptions({
    queryKey: ["aliases", model],
    queryFn: async ({ signal }) => {
      const { data } = await get("/v1/aliases", [], { query: { limit: ALIASES }, signal });
      return data.filter(({ weights }) => model in weights).map(({ name }) => name);
    },
    staleTime: JUST_READ_MS,
  });
}

export function useDeleteAdapter() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (id: string) => remove(ADAPTER, [id]),
    onSuccess: async (_, id) => {
      client.removeQueries({ queryKey: adapterKey(id) });
      await readAgain(client, LIST_KEY);
    },
  });
}
