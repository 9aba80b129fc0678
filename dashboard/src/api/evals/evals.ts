/** Requests about evals: the list, one eval, its creation and deletion. */

import { queryOptions, useMutation, useQueryClient } from "@tanstack/react-query";

import { EVALS_KEY, JUDGED_KEY } from "@/api/keys";
import { usePages } from "@/api/paged";
import { readAgain } from "@/api/readAgain";
import { get, remove } from "@/api/routes";

const PAGE = 20;
export const LIST_KEY = [...EVALS_KEY, "list"] as const;

/** The project's evals, newest first. */
export const useEvals = () => usePages(LIST_KEY, "/v1/evals", [], { query: { order: "desc" }, limit: PAGE });

export function evalQuery(id: string) {
  return queryOptions({
    queryKey: [...EVALS_KEY, "one", id],
    queryFn: ({ signal }) => get("/v1/evals/{eval_id}", [id], { signal }),
    staleTime: 30_000, // somebody may rename or delete it meanwhile
  });
}

export function useDeleteEval() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (id: string) => remove("/v1/evals/{eval_id}", [id]),
    onSuccess: async (_, id) => {
      client.removeQueries({ queryKey: evalQuery(id).queryKey });
      await Promise.all([readAgain(client, LIST_KEY), readAgain(client, JUDGED_KEY)]); // not what the page still shows
    },
  });
}
