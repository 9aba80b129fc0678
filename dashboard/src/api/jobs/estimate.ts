import { queryOptions } from "@tanstack/react-query";

import { api, body } from "@/api/client";
import type { CreateJob } from "@/api/types";

/** What a job would take on the machine of this service: rows in tokens, steps and time. Nothing is created. */
export function estimateQuery(request: CreateJob) {
  return queryOptions({
    queryKey: ["estimate", request],
    queryFn: ({ signal }) => {
      const asked = { ...request, devices: ["this-machine"] };
      return body(api.POST("/v1/fine_tuning/estimates", { body: asked as never, signal }));
    },
    retry: false, // a refused request is told when the job is created
    staleTime: Infinity,
    placeholderData: (before: unknown) => before as never,
  });
}
