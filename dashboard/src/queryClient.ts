import { QueryClient } from "@tanstack/react-query";

import { isPassing } from "./api/failures";

const LAST_RETRY_MS = 30_000;

/** The service may be on this machine, so a browser that is offline may still reach it. Only a failed request counts. */
export function newQueryClient(): QueryClient {
  return new QueryClient({
    defaultOptions: {
      mutations: { networkMode: "always" },
      queries: {
        networkMode: "always",
        retry: (_, error) => isPassing(error),
        retryDelay: (attempt) => Math.min(1000 * 2 ** attempt, LAST_RETRY_MS),
      },
    },
  });
}
