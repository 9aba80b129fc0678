import { keepPreviousData, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { getRouteApi } from "@tanstack/react-router";
import { useDeferredValue, useEffect, useMemo, useRef, useState } from "react";

import { isPassing } from "@/api/failures";
import { jobListQuery, knownJobs, readAllJobs, readOlderJobs } from "@/api/jobs/jobs";
import type { ManyAction } from "@/api/jobs/manyJobs";
import type { Job } from "@/api/types";
import { integer } from "@/lib/text/format";
import { EMPTY, type JobList } from "@/lib/jobs/jobList";
import { arranged, isNarrowed, needsAll, type Wanted, wantedBy } from "@/lib/addresses/jobSearch";
import { hasAll, NOTHING_SELECTED, withAll, withoutAll } from "@/lib/jobs/selection";
import { useTitle } from "@/lib/browser/useTitle";
import { Failure } from "@/parts/page/Notice";
import { Reading } from "@/parts/page/Reading";

import { FirstJob } from "./FirstJob";
import { JobFilters } from "./JobFilters";
import { JobTable } from "./JobTable";
import { ManyDialog } from "./ManyJobsDialog";
import { SelectionBar } from "./SelectionBar";

const route = getRouteApi("/jobs");

export function JobsPage() {
  useTitle("Jobs");
  const client = useQueryClient();
  const search = useDeferredValue(route.useSearch());
  const wanted = wantedBy(search);
  const { data, failureReason, isPlaceholderData } = useQuery({
    ...jobListQuery(client, wanted),
    placeholderData: keepPreviousData, // while a search is on its way
  });
  const list = data && !isPlaceholderData ? data : { ...(data ?? EMPTY), complete: false };
  const [selection, setSelection] = useState(NOTHING_SELECTED);
  const [asked, setAsked] = useState<{ action: ManyAction; jobs: readonly Job[] } | null>(null);
  const selected = selection.size ? knownJobs(client).filter(({ id }) => selection.has(id)) : [];
  const older = useOlderJobs(isPlaceholderData ? EMPTY : list, wanted, needsAll(search));
  const jobs = useMemo(() => arranged(data?.jobs ?? [], search), [data, search]);
  const ids = useMemo(() => jobs.map(({ id }) => id), [jobs]);
  const allSelected = list.complete && hasAll(selection, ids);
  const selectAll = useMutation({
    mutationFn: async () => arranged(await readAllJobs(client, wanted), search),
    retry: (_, failure) => isPassing(failure),
    onSuccess: (found) => setSelection((before) => withAll(before, found.map(({ id }) => id))),
  });
  const failure = older.failureReason ?? selectAll.failureReason;

  return (
    <>
      <div className="flex flex-wrap items-center gap-3">
        <h1 className="text-lg font-semibold">Jobs</h1>
        <JobFilters />
        <p className="fact" role="status">
          {isPlaceholderData ? "Searching…" : data && count(list, wanted)}
          {!isPlaceholderData && (older.reading || selectAll.isPending) && ", reading…"}
        </p>
      </div>
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
      {asked && <ManyDialog {...asked} onClose={() => setAsked(null)} />}
      {data && (isNarrowed(wanted) || list.jobs.length > 0) && (
        <JobTable
          jobs={jobs}
          complete={list.complete}
          search={search}
          selection={selection}
          allSelected={allSelected}
          onSelect={setSelection}
          onSelectAll={() => (allSelected ? setSelection((before) => withoutAll(before, ids)) : selectAll.mutate())}
          onEnd={older.read}
        />
      )}
    </>
  );
}

function count(list: JobList, wanted: Wanted): string {
  const found = `${integer(list.jobs.length)}${list.complete ? "" : "+"}`;
  const jobs = list.complete && list.jobs.length === 1 ? "job" : "jobs";
  return `${found} ${jobs}${isNarrowed(wanted) ? " found" : ""}`;
}

/** Reads on as the reader scrolls; to the end at once where all are needed to tell which come first. */
function useOlderJobs(list: JobList, wanted: Wanted, all: boolean) {
  const client = useQueryClient();
  // Of which more is being read, or was refused. Table and page ask at each render, some of which come before it is
  // known here.
  const taken = useRef<Wanted | null>(null);
  const { mutate, isPending, failureReason, variables } = useMutation({
    mutationFn: (of: Wanted) => readOlderJobs(client, of, all),
    retry: (_, failure) => isPassing(failure),
    onSuccess: (_, of) => {
      if (taken.current === of) taken.current = null;
    },
  });
  const more = !list.complete && list.jobs.length > 0;
  const read = () => {
    if (!more || isSame(taken.current, wanted)) return;
    taken.current = wanted;
    mutate(wanted);
  };
  useEffect(() => {
    if (all) read();
  });
  const failure = isSame(variables, wanted) ? failureReason : null;
  return { read, reading: isPending || (all && more && !failure), failureReason: failure };
}

function isSame(one: Wanted | null | undefined, other: Wanted): boolean {
  return one?.words === other.words && one.status === other.status;
}
