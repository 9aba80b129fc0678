/** Requests about evals: the list, one eval, its creation and deletion. */

import { queryOptions, useMutation, useQueryClient } from "@tanstack/react-query";

import { api, body } from "@/api/client";
import { EVALS_KEY, JUDGED_KEY } from "@/api/keys";
import { pageQuery, usePaged } from "@/api/paged";
import { readAgain } from "@/api/readAgain";

const PAGE = 20;
export const LIST_KEY = [...EVALS_KEY, "list"] as const;

/** The project's evals, newest first. */
export function useEvals() {
  return usePaged(LIST_KEY, (after, signal) => {
    const query = { ...pageQuery(PAGE, after), order: "desc" as const };
    return body(api.GET("/v1/evals", { params: { query }, signal }));
  });
}

export function evalQuery(id: string) {
  return queryOptions({
    queryKey: [...EVALS_KEY, "one", id],
    queryFn: ({ signal }) => body(api.GET("/v1/evals/{eval_id}", { params: { path: { eval_id: id } }, signal })),
    staleTime: 30_000, // somebody may rename or delete it meanwhile
  });
}

export function useDeleteEval() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (id: string) => body(api.DELETE("/v1/evals/{eval_id}", { params: { path: { eval_id: id } } })),
    onSuccess: async (_, id) => {
      client.removeQueries({ queryKey: evalQuery(id).queryKey });
      await Promise.all([readAgain(client, LIST_KEY), readAgain(client, JUDGED_KEY)]); // not what the page still shows
    },
  });
}
