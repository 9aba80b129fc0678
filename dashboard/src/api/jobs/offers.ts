/** Requests for the offers to a new job: base models, methods, trackers, schemas of the request, the project's files. */

import { queryOptions } from "@tanstack/react-query";

import { ask } from "@/api/client";
import { get } from "@/api/routes";
import { jobSchemas } from "@/lib/newJob/jobSchemas";
import { expand, type Schema } from "@/lib/schemas/schema";

const NEWEST = 200;

/** The ids of the base models. An id that begins with `ft:` belongs to a fine-tuned model; an alias has weights. */
export const baseModelsQuery = queryOptions({
  queryKey: ["models", "base"],
  queryFn: async ({ signal }) => {
    const { data } = await get("/v1/models", [], { signal });
    return data.filter(({ id, weights }) => !id.startsWith("ft:") && !weights).map(({ id }) => id);
  },
});

export const methodsQuery = queryOptions({
  queryKey: ["methods"],
  queryFn: async ({ signal }) => {
    const { data } = await get("/v1/methods", [], { signal });
    return data.map((method) => ({ ...method, schema: expand(method.schema as Schema, method.schema) }));
  },
  staleTime: Infinity,
});

export const trackersQuery = queryOptions({
  queryKey: ["integrations"],
  queryFn: async ({ signal }) => (await get("/v1/integrations", [], { signal })).data,
  staleTime: Infinity,
});

export const schemasQuery = queryOptions({
  queryKey: ["job-schemas"],
  queryFn: async ({ signal }) => jobSchemas(await (await ask("/openapi.json", { signal })).json()),
  staleTime: Infinity,
});

export const datasetsQuery = queryOptions({
  queryKey: ["files", "fine-tune", NEWEST],
  queryFn: async ({ signal }) => {
    const query = { purpose: "fine-tune", limit: NEWEST };
    return (await get("/v1/files", [], { query, signal })).data;
  },
});
