import { keepPreviousData, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { getRouteApi } from "@tanstack/react-router";
import { useDeferredValue, useEffect, useMemo, useState } from "react";

import { isPassing } from "@/api/failures";
import { jobListQuery, knownJobs, readOlderJobs } from "@/api/jobs";
import type { ManyAction } from "@/api/manyJobs";
import type { Job } from "@/api/types";
import { integer } from "@/lib/format";
import { EMPTY, type JobList } from "@/lib/jobList";
import { arranged, type JobSearch, needsAll, wordsOf } from "@/lib/jobSearch";
import { NOTHING_SELECTED } from "@/lib/selection";
import { useTitle } from "@/lib/title";
import { Failure } from "@/parts/Notice";
import { Reading } from "@/parts/Reading";

import { FirstJob } from "./FirstJob";
import { JobFilters } from "./JobFilters";
import { JobTable } from "./JobTable";
import { ManyDialog } from "./ManyDialog";
import { SelectionBar } from "./SelectionBar";

const route = getRouteApi("/jobs");

export function JobsPage() {
  useTitle("Jobs");
  const client = useQueryClient();
  const search = useDeferredValue(route.useSearch());
  const words = wordsOf(search);
  const { data, failureReason, isPlaceholderData } = useQuery({
    ...jobListQuery(client, words),
    placeholderData: keepPreviousData, // while a search is on its way
  });
  const list = data ?? EMPTY;
  const [selection, setSelection] = useState(NOTHING_SELECTED);
  const [asked, setAsked] = useState<{ action: ManyAction; jobs: readonly Job[] } | null>(null);
  const selected = selection.size ? knownJobs(client).filter(({ id }) => selection.has(id)) : [];
  const older = useOlderJobs(isPlaceholderData ? NOT_YET : list, search);
  const jobs = useMemo(() => arranged(list.jobs, search), [list, search]);

  return (
    <>
      <div className="flex flex-wrap items-center gap-3">
        <h1 className="text-lg font-semibold">Jobs</h1>
        <JobFilters />
        <p className="fact" role="status">
          {isPlaceholderData ? "Searching…" : data && count(jobs.length, list, search)}
        </p>
      </div>
      {failureReason ? <Failure error={failureReason} /> : !data && <Reading />}
      {older.failureReason && <Failure error={older.failureReason} />}
      {data && !list.jobs.length && !words && <FirstJob />}
      {selected.length > 0 && (
        <SelectionBar
          jobs={selected}
          onAct={(action, jobs) => setAsked({ action, jobs })}
          onClear={() => setSelection(NOTHING_SELECTED)}
        />
      )}
      {asked && <ManyDialog {...asked} onClose={() => setAsked(null)} />}
      {data && (words || list.jobs.length > 0) && (
        <JobTable jobs={jobs} search={search} selection={selection} onSelect={setSelection} onEnd={older.read} />
      )}
    </>
  );
}

const NOT_YET: JobList = { jobs: [], complete: false };

function count(shown: number, list: JobList, search: JobSearch): string {
  const found = `${integer(list.jobs.length)}${list.complete ? "" : "+"}`;
  const jobs = list.complete && list.jobs.length === 1 ? "job" : "jobs";
  return `${search.status ? `${integer(shown)} of ` : ""}${found} ${jobs}${wordsOf(search) && " found"}`;
}

/** Reads on as the reader scrolls; to the end at once where all are needed to tell which come first. */
function useOlderJobs(list: JobList, search: JobSearch) {
  const client = useQueryClient();
  const all = needsAll(search);
  const words = wordsOf(search);
  const { mutate, isPending, error, failureReason } = useMutation({
    mutationFn: () => readOlderJobs(client, words, all),
    retry: (_, failure) => isPassing(failure),
  });
  const wanted = !isPending && !list.complete && list.jobs.length > 0;
  const read = () => {
    if (wanted) mutate();
  };
  useEffect(() => {
    if (all && wanted && !error) mutate();
  }, [all, wanted, error, mutate]);
  return { read, failureReason };
}
