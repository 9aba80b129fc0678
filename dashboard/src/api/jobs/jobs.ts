/** Requests about jobs: the list, one job, and the actions on it. */

import { type QueryClient, queryOptions, useMutation, useQueryClient } from "@tanstack/react-query";

import { isPassing } from "@/api/failures";
import { get, post, remove } from "@/api/routes";
import type { Wanted } from "@/lib/addresses/jobSearch";
import { hasEnded } from "@/lib/facts/jobFacts";
import { EMPTY, type JobList, merge, replace, stalePages, without } from "@/lib/jobs/jobList";
import type { Job } from "@/types/api";

export const POLL_MS = 5000;
const FOLLOWED_POLL_MS = 15_000; // for a job whose log is followed
const IDLE_POLL_MS = 30_000; // for a job that has ended, which can only be deleted, or that is paused
const POLL_PAGE = 25; // small, because a page with a running job is sent again at each poll
const PAGE = 100;
const LARGE_PAGE = 1000; // for reading all jobs
const FOUND = 12;
const MOST_POLLS = 8; // pages that one poll asks for, at most

const JOB = "/v1/fine_tuning/jobs/{fine_tuning_job_id}";
const LISTS_KEY = ["jobs"] as const;
const listKey = ({ words, status }: Wanted) => [...LISTS_KEY, words, status ?? "any"] as const;

/** The ids of the rows on the screen. The table writes them; the poll reads them and asks again for their pages. */
export const visibleJobs: { ids: ReadonlySet<string> } = { ids: new Set() };

async function fetchRange({ words, status }: Wanted, after: string | null, limit: number, signal?: AbortSignal) {
  const query = { limit, after, ...(words && { search: words }), ...(status && { status }) };
  const page = await get("/v1/fine_tuning/jobs", [], { query, signal });
  return { after, jobs: page.data, hasMore: page.has_more };
}

/**
 * The list of jobs as far as it has been read. A poll asks for the pages that hold a visible or a running job. The
 * browser sends the ETag of each page, so a page that has not changed costs only an answer with status 304.
 */
export function jobListQuery(client: QueryClient, wanted: Wanted) {
  const queryKey = listKey(wanted);
  return queryOptions({
    queryKey,
    queryFn: async ({ signal }): Promise<JobList> => {
      const before = client.getQueryData<JobList>(queryKey) ?? EMPTY;
      const pages = stalePages(before, visibleJobs.ids, POLL_PAGE, MOST_POLLS);
      const ranges = await Promise.all(pages.map((after) => fetchRange(wanted, after, POLL_PAGE, signal)));
      // The list is read again, not taken from `before`, because more pages may have arrived meanwhile.
      return ranges.reduce(merge, client.getQueryData<JobList>(queryKey) ?? EMPTY);
    },
    structuralSharing: false, // `merge` does it
    refetchInterval: POLL_MS,
    staleTime: POLL_MS,
  });
}

/** Reads the next page of jobs after the known jobs. With `all`, the page is a large one. */
export async function readOlderJobs(client: QueryClient, wanted: Wanted, all: boolean): Promise<void> {
  const queryKey = listKey(wanted);
  const list = client.getQueryData<JobList>(queryKey) ?? EMPTY;
  if (list.complete) return;
  const range = await fetchRange(wanted, list.jobs.at(-1)?.id ?? null, all ? LARGE_PAGE : PAGE);
  client.setQueryData<JobList>(queryKey, (known) => merge(known ?? EMPTY, range));
}

/** Reads the list to its end and returns all jobs. */
export async function readAllJobs(client: QueryClient, wanted: Wanted): Promise<readonly Job[]> {
  for (;;) {
    const list = client.getQueryData<JobList>(listKey(wanted));
    if (list?.complete) return list.jobs;
    await readOlderJobs(client, wanted, true);
  }
}

/** The newest jobs that have all of these words: a few, from which the reader chooses one. */
export function foundJobsQuery(words: string) {
  return queryOptions({
    queryKey: [...listKey({ words }), "found"],
    queryFn: async ({ signal }): Promise<JobList> => merge(EMPTY, await fetchRange({ words }, null, FOUND, signal)),
    staleTime: POLL_MS,
  });
}

/** Returns the jobs of all lists that have been read, newest first. Each job is taken from the list read last. */
export function knownJobs(client: QueryClient): Job[] {
  const lists = client.getQueryCache().findAll({ queryKey: LISTS_KEY }).map(({ state }) => state);
  lists.sort((a, b) => a.dataUpdatedAt - b.dataUpdatedAt);
  const jobs = new Map(lists.flatMap(({ data }) => (data as JobList | undefined)?.jobs ?? []).map((job) => [job.id, job]));
  return [...jobs.values()].sort((a, b) => (a.id < b.id ? 1 : -1));
}

/**
 * A job. A page that follows its log reads the job seldom: the log says when it has changed, and only the position in the
 * queue and the time left change without a word.
 */
export function jobQuery(id: string, isFollowed = false) {
  return queryOptions({
    queryKey: ["job", id],
    queryFn: ({ signal }) => get(JOB, [id], { signal }),
    refetchInterval: ({ state }) => {
      const isGone = state.error !== null && !isPassing(state.error);
      if (isGone) return false;
      const { data: job } = state;
      if (job && (hasEnded(job) || (isFollowed && job.status === "paused"))) return IDLE_POLL_MS;
      return isFollowed && job?.status === "running" ? FOLLOWED_POLL_MS : POLL_MS;
    },
    staleTime: POLL_MS,
  });
}

export type JobAction = "pause" | "resume" | "cancel" | "delete";

/** Returns the actions that the state of a job allows. */
export function actionsOn(job: Job): JobAction[] {
  if (hasEnded(job)) return ["delete"];
  return job.status === "paused" || job.progress.phase === "pausing" ? ["resume", "cancel"] : ["pause", "cancel"];
}

export function useJobAction(id: string) {
  const client = useQueryClient();
  return useMutation({ mutationFn: (action: JobAction) => actOn(client, id, action) });
}

/** Does an action on a job, and updates the lists that hold the job. Raises Refused or Unreachable. */
export async function actOn(client: QueryClient, id: string, action: JobAction): Promise<void> {
  if (action === "delete") return deleteJob(client, id);
  const job = await post(`${JOB}/${action}`, [id], undefined);
  client.setQueryData(["job", id], job);
  changeLists(client, (list) => replace(list, job));
}

/** Deletes a job. Its data stay in the cache for a page that still shows them, because nothing asks for them again. */
async function deleteJob(client: QueryClient, id: string): Promise<void> {
  await remove(JOB, [id]);
  void client.invalidateQueries({ queryKey: ["adapter"] }); // an adapter says whether its job was deleted
  changeLists(client, (list) => without(list, id));
}

function changeLists(client: QueryClient, change: (list: JobList) => JobList): void {
  client.setQueriesData<JobList>({ queryKey: LISTS_KEY }, (list) => list && change(list));
}
