import { useMutation } from "@tanstack/react-query";

import { post } from "@/api/routes";

export interface Rating {
  rating?: "up" | "down" | null;
  corrected_answer?: string | null;
}

/** Rates the answer of a stored completion. A completion that is not stored is not found; the failure says why. */
export function useRating(id: string) {
  return useMutation({
    mutationFn: ({ rating = null, corrected_answer = null }: Rating) =>
      post("/v1/chat/completions/{completion_id}/rating", [id], { rating, corrected_answer }),
  });
}
