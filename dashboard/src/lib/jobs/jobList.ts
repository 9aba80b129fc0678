/**
 * All jobs that are known, newest first, put together from pages.
 *
 * Ids sort by the time of creation, so a page stands for a range of ids, and its answer replaces that range:
 * whatever was created or deleted meanwhile, nothing stands there twice and nothing is left over. Where more jobs than a page
 * were created between two polls, the list begins anew.
 */

import { replaceEqualDeep } from "@tanstack/react-query";

import type { Job } from "@/api/types";

export interface JobList {
  readonly jobs: readonly Job[];
  /** Whether the oldest job is among them. */
  readonly complete: boolean;
}

interface JobRange {
  /** The jobs older than this id; null from the newest on. */
  readonly after: string | null;
  readonly jobs: readonly Job[];
  readonly hasMore: boolean;
}

export const EMPTY: JobList = { jobs: [], complete: false };

/** Takes in a page. A job that has not changed stays the same object, so its row is not drawn again. */
export function merge(list: JobList, { after, jobs, hasMore }: JobRange): JobList {
  const last = hasMore ? (jobs.at(-1)?.id ?? "") : "";
  if (after === null && last > (list.jobs[0]?.id ?? last)) return { jobs, complete: false }; // a gap between them
  const newer = after === null ? [] : list.jobs.filter((job) => job.id >= after);
  const older = list.jobs.filter((job) => job.id < last);
  const known = new Map(list.jobs.map((job) => [job.id, job]));
  const page = jobs.map((job) => replaceEqualDeep(known.get(job.id), job) as Job);
  const complete = list.complete || !hasMore;
  const merged = [...newer, ...page, ...older];
  const same = merged.length === list.jobs.length && merged.every((job, at) => job === list.jobs[at]);
  return same && complete === list.complete ? list : { jobs: merged, complete };
}

/** Replaces one job, where it is known. */
export function replace(list: JobList, job: Job): JobList {
  if (!list.jobs.some((known) => known.id === job.id)) return list;
  return { ...list, jobs: list.jobs.map((known) => (known.id === job.id ? job : known)) };
}

/** Takes out one that was deleted. */
export function without(list: JobList, id: string): JobList {
  return { ...list, jobs: list.jobs.filter((job) => job.id !== id) };
}

/**
 * Where to ask again: pages of `size` jobs that hold a visible or a running one, and always the first.
 * Each is named by the id before it. At most `most` of them.
 */
export function stalePages(list: JobList, visible: ReadonlySet<string>, size: number, most: number): (string | null)[] {
  const found: (string | null)[] = [null];
  for (let from = size; from < list.jobs.length && found.length < most; from += size) {
    const page = list.jobs.slice(from, from + size);
    if (page.some((job) => job.status === "running" || visible.has(job.id))) found.push(list.jobs[from - 1]?.id ?? null);
  }
  return found;
}
