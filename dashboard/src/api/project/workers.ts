import { queryOptions } from "@tanstack/react-query";

import { api, body } from "@/api/client";
import { POLL_MS } from "@/api/jobs/jobs";

/** The workers and their queues. A hidden tab does not ask. */
export const workersQuery = queryOptions({
  queryKey: ["workers"],
  queryFn: ({ signal }) => body(api.GET("/v1/workers", { signal })),
  refetchInterval: POLL_MS,
});
