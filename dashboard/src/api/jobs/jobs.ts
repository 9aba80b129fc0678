/** Jobs: the list, one of them, and what is done to it. */

import { type QueryClient, queryOptions, useMutation, useQueryClient } from "@tanstack/react-query";

import { EMPTY, type JobList, merge, replace, stalePages, without } from "@/lib/jobs/jobList";
import type { Wanted } from "@/lib/addresses/jobSearch";

import { api, body } from "@/api/client";
import { isPassing } from "@/api/failures";
import { hasEnded, type Job } from "@/api/types";

export const POLL_MS = 5000;
const ENDED_POLL_MS = 30_000; // of a job that can only be deleted any more
const POLL_PAGE = 25; // a page with a running job is sent anew at each poll
const PAGE = 100;
const LARGE_PAGE = 1000; // where all are wanted anyway
const FOUND = 12;
const MOST_POLLS = 8; // pages that one poll asks for

const LISTS_KEY = ["jobs"] as const;
const listKey = ({ words, status }: Wanted) => [...LISTS_KEY, words, status ?? "any"] as const;

/** The rows on the screen: their pages are asked for again. The table writes it, the poll reads it. */
export const visibleJobs: { ids: ReadonlySet<string> } = { ids: new Set() };

async function fetchRange({ words, status }: Wanted, after: string | null, limit: number, signal?: AbortSignal) {
  const query = { limit, ...(after !== null && { after }), ...(words && { search: words }), ...(status && { status }) };
  const page = await body(api.GET("/v1/fine_tuning/jobs", { params: { query }, ...(signal && { signal }) }));
  return { after, jobs: page.data, hasMore: page.has_more };
}

/**
 * The list as far as it has been read. A poll asks for pages with visible or running jobs; the browser sends
 * each page's ETag, and a page that has not changed costs a 304.
 */
export function jobListQuery(client: QueryClient, wanted: Wanted) {
  const queryKey = listKey(wanted);
  return queryOptions({
    queryKey,
    queryFn: async ({ signal }): Promise<JobList> => {
      const before = client.getQueryData<JobList>(queryKey) ?? EMPTY;
      const pages = stalePages(before, visibleJobs.ids, POLL_PAGE, MOST_POLLS);
      const ranges = await Promise.all(pages.map((after) => fetchRange(wanted, after, POLL_PAGE, signal)));
      // Not `before`: more may have been read meanwhile.
      return ranges.reduce(merge, client.getQueryData<JobList>(queryKey) ?? EMPTY);
    },
    structuralSharing: false, // `merge` does it
    refetchInterval: POLL_MS,
    staleTime: POLL_MS,
  });
}

/** Reads the next jobs after those that are known; `all` takes large pages. */
export async function readOlderJobs(client: QueryClient, wanted: Wanted, all: boolean): Promise<void> {
  const queryKey = listKey(wanted);
  const list = client.getQueryData<JobList>(queryKey) ?? EMPTY;
  if (list.complete) return;
  const range = await fetchRange(wanted, list.jobs.at(-1)?.id ?? null, all ? LARGE_PAGE : PAGE);
  client.setQueryData<JobList>(queryKey, (known) => merge(known ?? EMPTY, range));
}

/** Reads the list to its end, and returns all of it. */
export async function readAllJobs(client: QueryClient, wanted: Wanted): Promise<readonly Job[]> {
  for (;;) {
    const list = client.getQueryData<JobList>(listKey(wanted));
    if (list?.complete) return list.jobs;
    await readOlderJobs(client, wanted, true);
  }
}

/** The newest jobs that have all of these words, as many as one looks through: to choose one of them. */
export function foundJobsQuery(words: string) {
  return queryOptions({
    queryKey: [...listKey({ words }), "found"],
    queryFn: async ({ signal }): Promise<JobList> => merge(EMPTY, await fetchRange({ words }, null, FOUND, signal)),
    staleTime: POLL_MS,
  });
}

/** The jobs of all lists that have been read, newest first; each as the list has it that was read last. */
export function knownJobs(client: QueryClient): Job[] {
  const lists = client.getQueryCache().findAll({ queryKey: LISTS_KEY }).map(({ state }) => state);
  lists.sort((a, b) => a.dataUpdatedAt - b.dataUpdatedAt);
  const jobs = new Map(lists.flatMap(({ data }) => (data as JobList | undefined)?.jobs ?? []).map((job) => [job.id, job]));
  return [...jobs.values()].sort((a, b) => (a.id < b.id ? 1 : -1));
}

export function jobQuery(id: string) {
  return queryOptions({
    queryKey: ["job", id],
    queryFn: ({ signal }) =>
      body(api.GET("/v1/fine_tuning/jobs/{fine_tuning_job_id}", { params: { path: { fine_tuning_job_id: id } }, signal })),
    refetchInterval: ({ state }) => {
      const isGone = state.error !== null && !isPassing(state.error);
      if (isGone) return false;
      return state.data && hasEnded(state.data) ? ENDED_POLL_MS : POLL_MS;
    },
    staleTime: POLL_MS,
  });
}

export type JobAction = "pause" | "resume" | "cancel" | "delete";

/** What may be done to a job as it is. */
export function actionsOn(job: Job): JobAction[] {
  if (hasEnded(job)) return ["delete"];
  return job.status === "paused" || job.progress.phase === "pausing" ? ["resume", "cancel"] : ["pause", "cancel"];
}

const ROUTES = {
  pause: "/v1/fine_tuning/jobs/{fine_tuning_job_id}/pause",
  resume: "/v1/fine_tuning/jobs/{fine_tuning_job_id}/resume",
  cancel: "/v1/fine_tuning/jobs/{fine_tuning_job_id}/cancel",
} as const;

export function useJobAction(id: string) {
  const client = useQueryClient();
  return useMutation({ mutationFn: (action: JobAction) => actOn(client, id, action) });
}

/** Raises Refused or Unreachable. */
export async function actOn(client: QueryClient, id: string, action: JobAction): Promise<void> {
  if (action === "delete") return deleteJob(client, id);
  const job = await body(api.POST(ROUTES[action], { params: { path: { fine_tuning_job_id: id } } }));
  client.setQueryData(["job", id], job);
  changeLists(client, (list) => replace(list, job));
}

/** What is known of the job stays for a page that still shows it, as nobody asks for it again. */
async function deleteJob(client: QueryClient, id: string): Promise<void> {
  const path = { fine_tuning_job_id: id };
  await body(api.DELETE("/v1/fine_tuning/jobs/{fine_tuning_job_id}", { params: { path } }));
  void client.invalidateQueries({ queryKey: ["adapter"] }); // which tells whether its job is there
  changeLists(client, (list) => without(list, id));
}

function changeLists(client: QueryClient, change: (list: JobList) => JobList): void {
  client.setQueriesData<JobList>({ queryKey: LISTS_KEY }, (list) => list && change(list));
}
