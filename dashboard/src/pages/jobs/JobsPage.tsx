import { keepPreviousData, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { getRouteApi } from "@tanstack/react-router";
import { useDeferredValue, useEffect, useMemo, useRef, useState } from "react";

import { isPassing } from "@/api/failures";
import { jobListQuery, knownJobs, readAllJobs, readOlderJobs } from "@/api/jobs/jobs";
import type { ManyAction } from "@/api/jobs/manyJobs";
import { arranged, isNarrowed, needsAll, type Wanted, wantedBy } from "@/lib/addresses/jobSearch";
import { EMPTY, type JobList } from "@/lib/jobs/jobList";
import { hasAll, NOTHING_SELECTED, withAll, withoutAll } from "@/lib/jobs/selection";
import { integer } from "@/lib/text/format";
import { Failure } from "@/components/page/Notice";
import { PageTitle } from "@/components/page/PageTitle";
import { Reading } from "@/components/page/Reading";
import type { Job } from "@/types/api";

import { FirstJob } from "./FirstJob";
import { JobFilters } from "./JobFilters";
import { JobTable } from "./JobTable";
import { ManyJobsDialog } from "./ManyJobsDialog";
import { SelectionBar } from "./SelectionBar";

const route = getRouteApi("/jobs");

export function JobsPage() {
  const client = useQueryClient();
  const search = useDeferredValue(route.useSearch());
  const wanted = wantedBy(search);
  const { data, failureReason, isPlaceholderData } = useQuery({
    ...jobListQuery(client, wanted),
    placeholderData: keepPreviousData, // shows the jobs of the last search until the new ones arrive
  });
  const list = data && !isPlaceholderData ? data : { ...(data ?? EMPTY), complete: false };
  const [selection, setSelection] = useState(NOTHING_SELECTED);
  const [asked, setAsked] = useState<{ action: ManyAction; jobs: readonly Job[] } | null>(null);
  const selected = selection.size ? knownJobs(client).filter(({ id }) => selection.has(id)) : [];
  const older = useOlderJobs(isPlaceholderData ? EMPTY : list, wanted, needsAll(search));
  const jobs = useMemo(() => arranged(data?.jobs ?? [], search), [data, search]);
  const ids = useMemo(() => jobs.map(({ id }) => id), [jobs]);
  const isAllSelected = list.complete && hasAll(selection, ids);
  const selectAll = useMutation({
    mutationFn: async () => arranged(await readAllJobs(client, wanted), search),
    retry: (_, failure) => isPassing(failure),
    onSuccess: (found) => setSelection((before) => withAll(before, found.map(({ id }) => id))),
  });
  const failure = older.failureReason ?? selectAll.failureReason;

  return (
    <>
      <PageTitle title="Jobs">
        <JobFilters />
        <p className="fact" role="status">
          {isPlaceholderData ? "Searching…" : data && countInWords(list, wanted)}
          {!isPlaceholderData && (older.isReading || selectAll.isPending) && ", reading…"}
        </p>
      </PageTitle>
      {failureReason ? <Failure error={failureReason} /> : !data && <Reading />}
      {failure && <Failure error={failure} />}
      {list.complete && !list.jobs.length && !isNarrowed(wanted) && <FirstJob />}
      {selected.length > 0 && (
        <SelectionBar
          jobs={selected}
          onAct={(action, jobs) => setAsked({ action, jobs })}
          onClear={() => setSelection(NOTHING_SELECTED)}
        />
      )}
      {asked && <ManyJobsDialog {...asked} onClose={() => setAsked(null)} />}
      {data && (isNarrowed(wanted) || list.jobs.length > 0) && (
        <JobTable
          jobs={jobs}
          isComplete={list.complete}
          search={search}
          selection={selection}
          isAllSelected={isAllSelected}
          onSelect={setSelection}
          onSelectAll={() => (isAllSelected ? setSelection((before) => withoutAll(before, ids)) : selectAll.mutate())}
          onEnd={older.read}
        />
      )}
    </>
  );
}

function countInWords(list: JobList, wanted: Wanted): string {
  const found = `${integer(list.jobs.length)}${list.complete ? "" : "+"}`;
  const jobs = list.complete && list.jobs.length === 1 ? "job" : "jobs";
  return `${found} ${jobs}${isNarrowed(wanted) ? " found" : ""}`;
}

/**
 * Reads older jobs as the reader scrolls. With `all`, it reads to the end at once, because the order of the rows needs
 * all jobs.
 */
function useOlderJobs(list: JobList, wanted: Wanted, all: boolean) {
  const client = useQueryClient();
  // The search whose older jobs are being read, or were refused. Table and page ask at each render, and some renders come
  // before the mutation's state says so.
  const taken = useRef<Wanted | null>(null);
  const { mutate, isPending, failureReason, variables } = useMutation({
    mutationFn: (of: Wanted) => readOlderJobs(client, of, all),
    retry: (_, failure) => isPassing(failure),
    onSuccess: (_, of) => {
      if (taken.current === of) taken.current = null;
    },
  });
  const hasMore = !list.complete && list.jobs.length > 0;
  const read = () => {
    if (!hasMore || isSame(taken.current, wanted)) return;
    taken.current = wanted;
    mutate(wanted);
  };
  useEffect(() => {
    if (all) read();
  });
  const failure = isSame(variables, wanted) ? failureReason : null;
  return { read, isReading: isPending || (all && hasMore && !failure), failureReason: failure };
}

function isSame(one: Wanted | null | undefined, other: Wanted): boolean {
  return one?.words === other.words && one.status === other.status;
}
