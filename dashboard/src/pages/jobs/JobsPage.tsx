import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { getRouteApi } from "@tanstack/react-router";
import { useDeferredValue, useEffect, useMemo, useState } from "react";

import { isPassing } from "@/api/failures";
import { jobListQuery, readOlderJobs } from "@/api/jobs";
import type { ManyAction } from "@/api/manyJobs";
import type { FileObject, Job } from "@/api/types";
import { integer } from "@/lib/format";
import { EMPTY, type JobList } from "@/lib/jobList";
import { findJobs, type JobSearch, needsAll } from "@/lib/jobSearch";
import { NOTHING_SELECTED } from "@/lib/selection";
import { Failure } from "@/parts/Notice";

import { FirstJob } from "./FirstJob";
import { JobFilters } from "./JobFilters";
import { JobTable } from "./JobTable";
import { ManyDialog } from "./ManyDialog";
import { SelectionBar } from "./SelectionBar";

const route = getRouteApi("/jobs");

export function JobsPage() {
  const client = useQueryClient();
  const search = useDeferredValue(route.useSearch());
  const { data, failureReason } = useQuery(jobListQuery(client));
  const list = data ?? EMPTY;
  const [selection, setSelection] = useState(NOTHING_SELECTED);
  const [asked, setAsked] = useState<{ action: ManyAction; jobs: readonly Job[] } | null>(null);
  const selected = list.jobs.filter(({ id }) => selection.has(id));
  const older = useOlderJobs(list, search);
  const jobs = useMemo(() => {
    const fileName = (job: Job) => client.getQueryData<FileObject>(["file", job.training_file])?.filename ?? "";
    return findJobs(list.jobs, search, fileName);
  }, [client, list, search]);

  return (
    <>
      <div className="flex flex-wrap items-center gap-3">
        <h1 className="text-lg font-semibold">Jobs</h1>
        <JobFilters />
        <p className="fact" role="status">
          {data && count(jobs.length, list, needsAll(search))}
        </p>
      </div>
      {failureReason && <Failure error={failureReason} />}
      {older.failureReason && <Failure error={older.failureReason} />}
      {data && !list.jobs.length && <FirstJob />}
      {selected.length > 0 && (
        <SelectionBar
          jobs={selected}
          onAct={(action, jobs) => setAsked({ action, jobs })}
          onClear={() => setSelection(NOTHING_SELECTED)}
        />
      )}
      {asked && <ManyDialog {...asked} onClose={() => setAsked(null)} />}
      {list.jobs.length > 0 && (
        <JobTable jobs={jobs} search={search} selection={selection} onSelect={setSelection} onEnd={older.read} />
      )}
    </>
  );
}

function count(found: number, list: JobList, searching: boolean): string {
  const known = `${integer(list.jobs.length)}${list.complete ? "" : "+"}`;
  return searching ? `${integer(found)} of ${known} jobs` : `${known} jobs`;
}

/** Reads on as the reader scrolls; to the end at once where the search is over all jobs. */
function useOlderJobs(list: JobList, search: JobSearch) {
  const client = useQueryClient();
  const all = needsAll(search);
  const { mutate, isPending, error, failureReason } = useMutation({
    mutationFn: () => readOlderJobs(client, all),
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
