/**
 * The known jobs, newest first, put together from pages.
 *
 * Ids sort by the time of creation. A page therefore covers a range of ids, and its answer replaces that range. So no
 * job stands in the list twice, and no deleted job stays, whatever happened between two polls. If more jobs than a page
 * holds were created between two polls, the list starts again with the new page.
 */

import { replaceEqualDeep } from "@tanstack/react-query";

import type { Job } from "@/types/api";

export interface JobList {
  readonly jobs: readonly Job[];
  /** Whether the oldest job is among them. */
  readonly complete: boolean;
}

interface JobRange {
  /** The page holds the jobs older than this id; null means the newest jobs. */
  readonly after: string | null;
  readonly jobs: readonly Job[];
  readonly hasMore: boolean;
}

export const EMPTY: JobList = { jobs: [], complete: false };

/** Returns the list with a page. A job that has not changed stays the same object, so its row is not rendered again. */
export function merge(list: JobList, { after, jobs, hasMore }: JobRange): JobList {
  const last = hasMore ? (jobs.at(-1)?.id ?? "") : "";
  if (after === null && last > (list.jobs[0]?.id ?? last)) return { jobs, complete: false }; // there is a gap between the page and the list
  const newer = after === null ? [] : list.jobs.filter((job) => job.id >= after);
  const older = list.jobs.filter((job) => job.id < last);
  const known = new Map(list.jobs.map((job) => [job.id, job]));
  const page = jobs.map((job) => replaceEqualDeep(known.get(job.id), job) as Job);
  const complete = list.complete || !hasMore;
  const merged = [...newer, ...page, ...older];
  const same = merged.length === list.jobs.length && merged.every((job, at) => job === list.jobs[at]);
  return same && complete === list.complete ? list : { jobs: merged, complete };
}

/** Returns the list with a job replaced, if the list has the job. */
export function replace(list: JobList, job: Job): JobList {
  if (!list.jobs.some((known) => known.id === job.id)) return list;
  return { ...list, jobs: list.jobs.map((known) => (known.id === job.id ? job : known)) };
}

/** Returns the list without a deleted job. */
export function without(list: JobList, id: string): JobList {
  return { ...list, jobs: list.jobs.filter((job) => job.id !== id) };
}

/**
 * Returns the pages to ask for again, at most `most`: the first page, and pages of `size` jobs that hold a visible or a
 * running job. A page is named by the id before it.
 */
export function stalePages(list: JobList, visible: ReadonlySet<string>, size: number, most: number): (string | null)[] {
  const found: (string | null)[] = [null];
  for (let from = size; from < list.jobs.length && found.length < most; from += size) {
    const page = list.jobs.slice(from, from + size);
    if (page.some((job) => job.status === "running" || visible.has(job.id))) found.push(list.jobs[from - 1]?.id ?? null);
  }
  return found;
}
