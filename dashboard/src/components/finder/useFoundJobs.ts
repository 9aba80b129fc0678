import { useQuery } from "@tanstack/react-query";

import { foundJobsQuery } from "@/api/jobs/jobs";
import { wordsOf } from "@/lib/addresses/jobSearch";
import { useSettled } from "@/components/basics/useSettled";
import type { Job } from "@/types/api";

export interface FoundJobs {
  /** Empty while the search runs, because the jobs of the last search do not match the new words. */
  jobs: readonly Job[];
  isLooking: boolean;
  /** Why the search failed. */
  failure: Error | null;
}

const LOOKING: FoundJobs = { jobs: [], isLooking: true, failure: null };

/** Searches all jobs of the project for the typed words, and returns the newest that match. */
export function useFoundJobs(typed: string): FoundJobs {
  const words = wordsOf({ q: typed });
  const settled = useSettled(words);
  const { data, failureReason } = useQuery(foundJobsQuery(settled));
  if (settled !== words || !(data ?? failureReason)) return LOOKING;
  return { jobs: data?.jobs ?? [], isLooking: false, failure: failureReason };
}
