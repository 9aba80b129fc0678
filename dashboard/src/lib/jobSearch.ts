/** What the Jobs page shows, as it stands in the address; and what it makes of the jobs that the API finds. */

import { type Job, STATUSES, type Status } from "@/api/types";

import { jobName } from "./jobFacts";

const MOST_CHARACTERS = 200;
const SORTS = ["created", "name", "status", "model", "method", "progress"] as const;
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

/** Whether it takes all that are found to answer, and not only the newest. */
export function needsAll({ status, sort, reversed }: JobSearch): boolean {
  return Boolean(status ?? sort ?? reversed);
}

/** Those of the status, in the order that is asked for. */
export function arranged(jobs: readonly Job[], { status, sort, reversed }: JobSearch): readonly Job[] {
  const found = jobs.filter((job) => !status || job.status === status);
  if (sort) found.sort(ORDERS[sort]);
  return reversed ? found.reverse() : found;
}

type Order = (a: Job, b: Job) => number;

const byText = (text: (job: Job) => string): Order => (a, b) => text(a).localeCompare(text(b));

const ORDERS: Record<Sort, Order> = {
  created: (a, b) => b.created_at - a.created_at,
  name: byText(jobName),
  status: (a, b) => STATUSES.indexOf(a.status as Status) - STATUSES.indexOf(b.status as Status),
  model: byText((job) => job.model),
  method: byText((job) => `${job.method.type} ${job.adapter.type}`),
  progress: (a, b) => (b.progress.percent ?? 0) - (a.progress.percent ?? 0),
};
