import { useMutation, useQueryClient } from "@tanstack/react-query";

import { messageOf } from "./failures";
import { actOn } from "./jobs";
import type { Job } from "./types";

const AT_ONCE = 4;

/** What came of one job: the reason where it was not cancelled. */
export interface Cancelled {
  job: Job;
  failure: string | null;
}

/** Cancels each by itself, a few at once: one that is refused holds no other up. */
export function useCancelMany() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: async (jobs: readonly Job[]): Promise<Cancelled[]> => {
      const waiting = jobs.map((job, at) => ({ job, at }));
      const results: Cancelled[] = [];
      const work = async () => {
        for (let next = waiting.shift(); next; next = waiting.shift()) {
          const { job, at } = next;
          const failure = await actOn(client, job.id, "cancel").then(() => null, messageOf);
          results[at] = { job, failure };
        }
      };
      await Promise.all(Array.from({ length: AT_ONCE }, work));
      return results;
    },
  });
}
