import { useQuery } from "@tanstack/react-query";

import { foundJobsQuery } from "@/api/jobs/jobs";
import type { Job } from "@/api/types";
import { wordsOf } from "@/lib/addresses/jobSearch";
import { useSettled } from "@/parts/basics/useSettled";

export interface FoundJobs {
  /** None while they are looked for: those of former words are not what is meant. */
  jobs: readonly Job[];
  looking: boolean;
  /** Why they could not be looked for. */
  failure: Error | null;
}

const LOOKING: FoundJobs = { jobs: [], looking: true, failure: null };

/** The newest jobs that have what was typed, wherever in the project's list they stand. */
export function useFoundJobs(typed: string): FoundJobs {
  const words = wordsOf({ q: typed });
  const settled = useSettled(words);
  const { data, failureReason } = useQuery(foundJobsQuery(settled));
  if (settled !== words || !(data ?? failureReason)) return LOOKING;
  return { jobs: data?.jobs ?? [], looking: false, failure: failureReason };
}
