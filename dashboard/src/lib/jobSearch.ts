/** What the Jobs page shows, as it stands in the address; and the jobs that it finds. */

import { type Job, STATUSES, type Status } from "@/api/types";

import { jobName } from "./jobFacts";

const SORTS = ["created", "name", "status", "model", "method", "progress"] as const;
export type Sort = (typeof SORTS)[number];

export interface JobSearch {
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

/** Whether it takes all jobs to answer, and not only the newest. */
export function needsAll(search: JobSearch): boolean {
  return Object.keys(search).length > 0;
}

/** `extra` are words of a job that it does not hold itself, such as its file's name. */
export function findJobs(
  jobs: readonly Job[],
  search: JobSearch,
  extra: (job: Job) => string,
): readonly Job[] {
  const words = (search.q ?? "").toLowerCase().split(/\s+/).filter(Boolean);
  const found = jobs.filter((job) => {
    if (search.status && job.status !== search.status) return false;
    if (!words.length) return true;
    const text = `${textOf(job)} ${extra(job)}`.toLowerCase();
    return words.every((word) => text.includes(word));
  });
  if (search.sort) found.sort(ORDERS[search.sort]);
  return search.reversed ? found.reverse() : found;
}

function textOf(job: Job): string {
  const { id, model, status, adapter, method, training_file, user_provided_suffix, fine_tuned_model, metadata } = job;
  const words = [id, model, status, adapter.type, method.type, training_file, user_provided_suffix, fine_tuned_model];
  return [...words, ...Object.entries(metadata ?? {}).flat()].join(" ");
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
