/** Which jobs are compared and how, as it stands in the address. */

import { type CurveSearch, parseCurveSearch } from "./curveSearch";

export const MOST_COMPARED = 12;

export interface CompareSearch extends CurveSearch {
  /** Ids between commas. A place that was left stays empty, so that no other job changes its look. */
  jobs?: string;
  /** The job that the others are measured by; the first where none is named. */
  base?: string;
  /** Columns of the metrics between commas, where others than the usual ones are shown. */
  show?: string;
}

export function parseCompareSearch(raw: Record<string, unknown>): CompareSearch {
  const jobs = joined(places(textOf(raw.jobs)));
  const base = textOf(raw.base);
  const show = textOf(raw.show);
  return {
    ...parseCurveSearch(raw),
    ...(jobs && { jobs }),
    ...(base && { base }),
    ...(show && { show }),
  };
}

/** Each place's job; null for an empty one. */
export function places(jobs: string | undefined): (string | null)[] {
  const found: (string | null)[] = [];
  for (const id of (jobs ?? "").split(",").slice(0, MOST_COMPARED)) {
    found.push(id.trim() && !found.includes(id.trim()) ? id.trim() : null);
  }
  return found;
}

/** Into the first empty place. */
export function withJob(jobs: string | undefined, id: string): string {
  const found = jobs ? places(jobs) : [];
  if (found.includes(id)) return joined(found);
  const empty = found.indexOf(null);
  if (empty < 0) found.push(id);
  else found[empty] = id;
  return joined(found);
}

export function withoutJob(jobs: string | undefined, id: string): string {
  return joined(places(jobs).map((one) => (one === id ? null : one)));
}

/** The job that the others are measured by: the one that is named, as long as it is compared, else the first. */
export function baselineOf(compared: readonly string[], base: string | undefined): string {
  return base !== undefined && compared.includes(base) ? base : (compared[0] ?? "");
}

function joined(found: readonly (string | null)[]): string {
  return found.map((id) => id ?? "").join(",").replace(/,+$/, "");
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}
