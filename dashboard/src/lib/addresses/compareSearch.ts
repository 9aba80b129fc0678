/** The address of Compare: which jobs are compared, and how. */

import { type CurveSearch, parseCurveSearch } from "./curveSearch";

export const MOST_COMPARED = 12;

export interface CompareSearch extends CurveSearch {
  /** Ids with commas between them. The position of a removed job stays empty, so that no other job changes its look. */
  jobs?: string;
  /** The job that the others are measured against; without it, the first job. */
  base?: string;
  /** Columns of the metrics with commas between them, if not the usual columns are shown. */
  show?: string;
}

export function parseCompareSearch(raw: Record<string, unknown>): CompareSearch {
  const jobs = joined(jobIds(textOf(raw.jobs)));
  const base = textOf(raw.base);
  const show = textOf(raw.show);
  return {
    ...parseCurveSearch(raw),
    ...(jobs && { jobs }),
    ...(base && { base }),
    ...(show && { show }),
  };
}

/** Returns the id of the job in each position; null where a removed job was. */
export function jobIds(jobs: string | undefined): (string | null)[] {
  const found: (string | null)[] = [];
  for (const id of (jobs ?? "").split(",").slice(0, MOST_COMPARED)) {
    found.push(id.trim() && !found.includes(id.trim()) ? id.trim() : null);
  }
  return found;
}

/** Returns the jobs with one more job, which gets the first empty position. */
export function withJob(jobs: string | undefined, id: string): string {
  const found = jobs ? jobIds(jobs) : [];
  if (found.includes(id)) return joined(found);
  const empty = found.indexOf(null);
  if (empty < 0) found.push(id);
  else found[empty] = id;
  return joined(found);
}

export function withoutJob(jobs: string | undefined, id: string): string {
  return joined(jobIds(jobs).map((one) => (one === id ? null : one)));
}

/** Returns the baseline: the job that the address names if it is compared, or else the first job. */
export function baselineOf(compared: readonly string[], base: string | undefined): string {
  return base !== undefined && compared.includes(base) ? base : (compared[0] ?? "");
}

function joined(found: readonly (string | null)[]): string {
  return found.map((id) => id ?? "").join(",").replace(/,+$/, "");
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}
