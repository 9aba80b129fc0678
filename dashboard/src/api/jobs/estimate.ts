import { keepPreviousData, queryOptions } from "@tanstack/react-query";

import { post } from "@/api/routes";
import type { CreateJob } from "@/types/api";

/** What a job would take on the machine of this service: rows in tokens, steps and time. Nothing is created. */
export function estimateQuery(request: CreateJob) {
  return queryOptions({
    queryKey: ["estimate", request],
    queryFn: ({ signal }) => post("/v1/fine_tuning/estimates", [], { ...request, devices: ["this-machine"] }, { signal }),
    retry: false, // a refused request is told when the job is created
    staleTime: Infinity,
    placeholderData: keepPreviousData,
  });
}
