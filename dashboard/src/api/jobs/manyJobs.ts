import { type QueryClient, useMutation, useQueryClient } from "@tanstack/react-query";

import { messageOf } from "@/api/failures";
import { actOn } from "./jobs";
import { hasEnded, type Job } from "@/api/types";

const AT_ONCE = 4;

export type ManyAction = "cancel" | "delete";

/** What came of one job: the reason where it was not done. */
export interface Outcome {
  job: Job;
  failure: string | null;
}

/** Acts on each by itself, a few at once: one that is refused holds no other up. */
export function useManyJobs(action: ManyAction) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: async (jobs: readonly Job[]): Promise<Outcome[]> => {
      const waiting = jobs.map((job, at) => ({ job, at }));
      const outcomes: Outcome[] = [];
      const work = async () => {
        for (let next = waiting.shift(); next; next = waiting.shift()) {
          const { job, at } = next;
          const failure = await act(client, job, action).then(() => null, messageOf);
          outcomes[at] = { job, failure };
        }
      };
      await Promise.all(Array.from({ length: AT_ONCE }, work));
      return outcomes;
    },
  });
}

/** Only a job that has ended can be deleted, so any other is cancelled first. */
async function act(client: QueryClient, job: Job, action: ManyAction): Promise<void> {
  if (action === "delete" && !hasEnded(job)) await actOn(client, job.id, "cancel");
  await actOn(client, job.id, action);
}
