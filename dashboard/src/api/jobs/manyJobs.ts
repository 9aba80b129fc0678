import { type QueryClient, useMutation, useQueryClient } from "@tanstack/react-query";

import { messageOf } from "@/api/failures";
import { hasEnded } from "@/lib/facts/jobFacts";
import type { Job } from "@/types/api";

import { actOn } from "./jobs";

const AT_ONCE = 4;

export type ManyAction = "cancel" | "delete";

/** The outcome of the action on one job. `failure` says why it was not done; null means that it was done. */
export interface Outcome {
  job: Job;
  failure: string | null;
}

/** Acts on each job on its own, on a few at a time. A refusal for one job does not stop the others. */
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

/** Acts on one job. Only a job that has ended can be deleted, so any other job is cancelled first. */
async function act(client: QueryClient, job: Job, action: ManyAction): Promise<void> {
  if (action === "delete" && !hasEnded(job)) await actOn(client, job.id, "cancel");
  await actOn(client, job.id, action);
}
