/** Requests of the operator: the catalog of base models, and looks at models of the hub. */

import { queryOptions, useMutation, useQueryClient } from "@tanstack/react-query";

import { api, body } from "@/api/client";
import { pageQuery, usePaged } from "@/api/paged";
import { readAgain } from "@/api/readAgain";
import type { BaseModel, HubModel } from "@/types/api";

const KEY = ["base models"] as const;
const OFFERED = ["models"] as const; // what forms offer
const PATH = "/v1/organization/base_models";
const PAGE = 50;

export function useBaseModels() {
  return usePaged(KEY, (after, signal) => body(api.GET(PATH, { params: { query: pageQuery(PAGE, after) }, signal })));
}

/** Looks at a model of the hub. Nothing changes. */
export function useCheckBaseModel() {
  return useMutation({
    mutationFn: (asked: HubModel) => body(api.POST(`${PATH}/check`, { body: asked })),
  });
}

/** Looks again at a model of the catalog, as the catalog offers it. Each question asks the hub. */
export function baseModelCheckQuery({ id, repository, revision, license, max_length, quantization }: BaseModel) {
  const asked: HubModel = { id, repository, revision, license, max_length, quantization };
  return queryOptions({
    queryKey: [...KEY, "check", id],
    queryFn: ({ signal }) => body(api.POST(`${PATH}/check`, { body: asked, signal })),
    gcTime: 0,
    retry: false,
  });
}

export function useAddBaseModel() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (asked: HubModel) => body(api.POST(PATH, { body: asked })),
    onSuccess: () => Promise.all([readAgain(client, KEY), readAgain(client, OFFERED)]),
  });
}

export function useRemoveBaseModel() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (base_model: string) => body(api.DELETE(`${PATH}/{base_model}`, { params: { path: { base_model } } })),
    onSuccess: () => Promise.all([readAgain(client, KEY), readAgain(client, OFFERED)]),
  });
}
