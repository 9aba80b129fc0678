import { useQuery } from "@tanstack/react-query";

import { foundJobsQuery } from "@/api/jobs";
import type { Job } from "@/api/types";
import { wordsOf } from "@/lib/jobSearch";
import { useSettled } from "@/parts/useSettled";

/** The newest jobs that have what was typed, wherever in the project's list they stand; those before until then. */
export function useFoundJobs(typed: string): { jobs: readonly Job[]; looking: boolean } {
  const words = wordsOf({ q: typed });
  const settled = useSettled(words);
  const { data: jobs = [], isFetching } = useQuery(foundJobsQuery(settled));
  return { jobs, looking: isFetching || settled !== words };
}
