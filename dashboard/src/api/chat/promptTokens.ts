import { queryOptions } from "@tanstack/react-query";

import { api, body } from "@/api/client";
import type { ChatRequest } from "@/lib/chat/chatRequest";

/** The prompt that a model gets for a request, and its tokens. */
export function promptTokensQuery({ model, messages }: ChatRequest) {
  return queryOptions({
    queryKey: ["promptTokens", model, messages],
    queryFn: ({ signal }) => body(api.POST("/v1/tokenize", { signal, body: { model, messages, return_token_strs: true } })),
    staleTime: Infinity,
  });
}
