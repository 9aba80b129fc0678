/** What the Jobs page shows, as it stands in the address; and what it makes of the jobs that the API finds. */

import { type Job, STATUSES, type Status } from "@/api/types";

import { jobName } from "@/lib/facts/jobFacts";

const MOST_CHARACTERS = 200;
const SORTS = ["created", "name", "status", "model", "method", "progress", "best"] as const;
export type Sort = (typeof SORTS)[number];

export interface JobSearch {
  /** Words that the API searches for. */
  q?: string;
  status?: Status;
  sort?: Sort;
  /** Against the sort's own direction, which has the newest, the first or the furthest at the top. */
  reversed?: true;
}

/** From the address, which anybody may have written: what is not known is left out. */
export function parseJobSearch(raw: Record<string, unknown>): JobSearch {
  const q = typeof raw.q === "string" || typeof raw.q === "number" ? String(raw.q) : "";
  const status = STATUSES.find((one) => one === raw.status);
  const sort = SORTS.find((one) => one === raw.sort);
  return {
    ...(q && { q }),
    ...(status && { status }),
    ...(sort && sort !== "created" && { sort }),
    ...((raw.reversed === true || raw.reversed === "true") && { reversed: true as const }),
  };
}

/** The same search however its words are parted, and as many characters as the API takes. */
export function wordsOf({ q = "" }: JobSearch): string {
  return q.trim().split(/\s+/).join(" ").slice(0, MOST_CHARACTERS);
}

/** What the API is asked for: jobs that have all of the words, and the status. */
export interface Wanted {
  words: string;
  status?: Status;
}

export function wantedBy(search: JobSearch): Wanted {
  return { words: wordsOf(search), ...(search.status && { status: search.status }) };
}

/** Whether not every job of the project is asked for. */
export function isNarrowed({ words, status }: Wanted): boolean {
  return words !== "" || status !== undefined;
}

/** Whether it takes all that are found to answer, and not only the newest. */
export function needsAll({ sort, reversed }: JobSearch): boolean {
  return Boolean(sort ?? reversed);
}

/** In the order that is asked for, without those that have left the status since they were read. */
export function arranged(jobs: readonly Job[], { status, sort, reversed }: JobSearch): readonly Job[] {
  const found = jobs.filter((job) => !status || job.status === status);
  if (sort) found.sort(ORDERS[sort]);
  if (reversed) found.reverse();
  return sort === "best" ? [...found.filter(hasBest), ...found.filter((job) => !hasBest(job))] : found;
}

/** Without one, a job stands behind those that have one, whatever the direction. */
const hasBest = (job: Job) => job.progress.best_valid_loss !== null;

type Order = (a: Job, b: Job) => number;

const byText = (text: (job: Job) => string): Order => (a, b) => text(a).localeCompare(text(b));

const ORDERS: Record<Sort, Order> = {
  created: (a, b) => b.created_at - a.created_at,
  name: byText(jobName),
  status: (a, b) => STATUSES.indexOf(a.status as Status) - STATUSES.indexOf(b.status as Status),
  model: byText((job) => job.model),
  method: byText((job) => `${job.method.type} ${job.adapter.type}`),
  progress: (a, b) => (b.progress.percent ?? 0) - (a.progress.percent ?? 0),
  best: (a, b) => (a.progress.best_valid_loss ?? 0) - (b.progress.best_valid_loss ?? 0),
};
