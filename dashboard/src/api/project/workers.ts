import { queryOptions } from "@tanstack/react-query";

import { get } from "@/api/routes";

const POLL_MS = 5000;

/** The workers and their queues. A hidden tab does not ask. */
export const workersQuery = queryOptions({
  queryKey: ["workers"],
  queryFn: ({ signal }) => get("/v1/workers", [], { signal }),
  refetchInterval: POLL_MS,
});
