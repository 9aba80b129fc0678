/** Requests of the operator: the catalog of base models, and looks at models of the hub. */

import { queryOptions, useMutation, useQueryClient } from "@tanstack/react-query";

import { usePages } from "@/api/paged";
import { readAgain } from "@/api/readAgain";
import { post, remove } from "@/api/routes";
import type { BaseModel, HubModel } from "@/types/api";

const KEY = ["base models"] as const;
const OFFERED = ["models"] as const; // what forms offer
const PATH = "/v1/organization/base_models";

export const useBaseModels = () => usePages(KEY, PATH);

/** Looks at a model of the hub. Nothing changes. */
export function useCheckBaseModel() {
  return useMutation({ mutationFn: (asked: HubModel) => post(`${PATH}/check`, [], asked) });
}

/** Looks again at a model of the catalog, as the catalog offers it. Each question asks the hub. */
export function baseModelCheckQuery({ id, repository, revision, license, max_length, quantization }: BaseModel) {
  const asked: HubModel = { id, repository, revision, license, max_length, quantization };
  return queryOptions({
    queryKey: [...KEY, "check", id],
    queryFn: ({ signal }) => post(`${PATH}/check`, [], asked, { signal }),
    gcTime: 0,
    retry: false,
  });
}

export function useAddBaseModel() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (asked: HubModel) => post(PATH, [], asked),
    onSuccess: () => Promise.all([readAgain(client, KEY), readAgain(client, OFFERED)]),
  });
}

export function useRemoveBaseModel() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (id: string) => remove(`${PATH}/{base_model}`, [id]),
    onSuccess: () => Promise.all([readAgain(client, KEY), readAgain(client, OFFERED)]),
  });
}
