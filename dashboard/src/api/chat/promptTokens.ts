import { queryOptions } from "@tanstack/react-query";

import { post } from "@/api/routes";
import type { ChatRequest } from "@/lib/chat/chatRequest";

/** The prompt that a model gets for a request, and its tokens. */
export function promptTokensQuery({ model, messages }: ChatRequest) {
  return queryOptions({
    queryKey: ["promptTokens", model, messages],
    queryFn: ({ signal }) => post("/v1/tokenize", [], { model, messages, return_token_strs: true }, { signal }),
    staleTime: Infinity,
  });
}
