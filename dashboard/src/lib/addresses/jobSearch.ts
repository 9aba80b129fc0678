/** The address of Jobs: the words, status and order that the reader asks for; and the jobs found in that order. */

import { jobName, type Status, STATUSES } from "@/lib/facts/jobFacts";
import type { Job } from "@/types/api";

const MOST_CHARACTERS = 200;
const SORTS = ["created", "name", "status", "model", "method", "progress", "best"] as const;
export type Sort = (typeof SORTS)[number];

export interface JobSearch {
  /** Words that the API searches for. */
  q?: string;
  status?: Status;
  sort?: Sort;
  /** Turns the direction of the order around. By itself, an order begins with the newest, first or furthest job. */
  reversed?: true;
}

/** Reads the address, which anybody may have written. Unknown values are left out. */
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

/** Returns the words with single spaces between them, and not more characters than the API accepts. */
export function wordsOf({ q = "" }: JobSearch): string {
  return q.trim().split(/\s+/).join(" ").slice(0, MOST_CHARACTERS);
}

/** The jobs that the API is asked for: those with all of the words and with the status. */
export interface Wanted {
  words: string;
  status?: Status;
}

export function wantedBy(search: JobSearch): Wanted {
  return { words: wordsOf(search), ...(search.status && { status: search.status }) };
}

/** Returns whether only some jobs of the project are asked for. */
export function isNarrowed({ words, status }: Wanted): boolean {
  return words !== "" || status !== undefined;
}

/** Returns whether the order needs all jobs found, and not only the newest. */
export function needsAll({ sort, reversed }: JobSearch): boolean {
  return Boolean(sort ?? reversed);
}

const DESCENDING: ReadonlySet<Sort> = new Set(["created", "progress"]);

/** Returns whether the values of the sorted column fall from row to row. */
export function isDescending({ sort = "created", reversed = false }: { sort?: Sort; reversed?: boolean }): boolean {
  return DESCENDING.has(sort) !== reversed;
}

/** Returns the jobs in the order asked for, without jobs whose status has changed since they were read. */
export function arranged(jobs: readonly Job[], { status, sort, reversed }: JobSearch): readonly Job[] {
  const found = jobs.filter((job) => !status || job.status === status);
  if (sort) found.sort(ORDERS[sort]);
  if (reversed) found.reverse();
  return sort === "best" ? [...found.filter(hasBest), ...found.filter((job) => !hasBest(job))] : found;
}

/** A job without a best loss comes after the jobs with one, in both directions. */
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
