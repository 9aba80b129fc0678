import { queryOptions } from "@tanstack/react-query";

import { api, body } from "@/api/client";

/** The names of the models that can be asked. A checkpoint is not among them, but can be asked too. */
export function modelNamesQuery() {
  return queryOptions({
    queryKey: ["models"],
    queryFn: async ({ signal }) => (await body(api.GET("/v1/models", { signal }))).data.map(({ id }) => id),
    staleTime: 30_000,
  });
}
