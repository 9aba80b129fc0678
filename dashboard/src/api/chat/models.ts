import { type QueryClient, queryOptions } from "@tanstack/react-query";

import { get } from "@/api/routes";

/** The names of the models that can be asked. A checkpoint is not among them, but can be asked too. */
export function modelNamesQuery() {
  return queryOptions({
    queryKey: ["models", "names"],
    queryFn: async ({ signal }) => (await get("/v1/models", [], { signal })).data.map(({ id }) => id),
    staleTime: 30_000,
  });
}

/** The models that the playground begins with, and the job whose validation file has a prompt for them. */
interface Begin {
  models: readonly string[];
  job: string | null;
}

/** The newest adapter beside its base model. In a project without an adapter, the first base model. */
export function beginQuery(client: QueryClient) {
  return queryOptions({
    queryKey: ["models", "begin"],
    queryFn: async ({ signal }): Promise<Begin> => {
      const [adapters, names] = await Promise.all([
        get("/v1/adapters", [], { query: { limit: 1 }, signal }),
        client.fetchQuery(modelNamesQuery()),
      ]);
      const [newest] = adapters.data;
      if (newest) return { models: [newest.base_model, newest.model], job: newest.job_deleted ? null : newest.job_id };
      return { models: names.slice(0, 1), job: null };
    },
  });
}
