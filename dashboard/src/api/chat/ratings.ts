import { useMutation } from "@tanstack/react-query";

import { api, body } from "@/api/client";

export interface Rating {
  rating?: "up" | "down" | null;
  corrected_answer?: string | null;
}

/** Rates the answer of a stored completion. A completion that is not stored is not found; the failure says why. */
export function useRating(id: string) {
  return useMutation({
    mutationFn: (rating: Rating) =>
      body(
        api.POST("/v1/chat/completions/{completion_id}/rating", {
          params: { path: { completion_id: id } },
          body: { rating: rating.rating ?? null, corrected_answer: rating.corrected_answer ?? null },
        }),
      ),
  });
}
