/** What the x of a chart can be, and where the steps of a run stand on it. */

import { compact, elapsed, integer, significant } from "@/lib/text/format";
import type { Series } from "./series";

export const AXES = ["step", "epoch", "time", "tokens"] as const;
export type Axis = (typeof AXES)[number];

/** The metrics that tell it. They only grow, so they are no measures of their own. */
const COLUMNS: Partial<Record<Axis, string>> = { time: "trained_seconds", tokens: "trained_tokens" };
export const AXIS_COLUMNS: readonly string[] = Object.values(COLUMNS);

/** Of one run. */
export interface Steps {
  series: Series;
  /** Null where epochs are not known. */
  stepsPerEpoch: number | null;
}

/** Those that can be told of all of `runs`; ones without a step yet forbid none. */
export function axesOf(runs: readonly Steps[]): Axis[] {
  return AXES.filter((axis) => runs.every((run) => run.series.length === 0 || isKnown(run, axis)));
}

/** The axis of an address, or steps where it cannot be told. */
export function axisOf(wanted: Axis | undefined, offered: readonly Axis[]): Axis {
  return wanted && offered.includes(wanted) ? wanted : "step";
}

function isKnown({ series, stepsPerEpoch }: Steps, axis: Axis): boolean {
  if (axis === "epoch") return stepsPerEpoch !== null;
  const name = COLUMNS[axis];
  return name === undefined || !Number.isNaN(series.column(name)?.at(-1) ?? NaN);
}

/**
 * Where each step stands. It never falls: steps that are made again after a crash stand in the midst of those
 * of the first time, until these are replaced. NaN for steps at the beginning that do not tell.
 */
export function xOf({ series, stepsPerEpoch }: Steps, axis: Axis): Float64Array {
  const { steps } = series;
  if (axis === "step") return steps;
  if (axis === "epoch") return steps.map((step) => step / (stepsPerEpoch ?? 1));
  const told = series.column(COLUMNS[axis] ?? "") ?? new Float64Array(steps.length).fill(NaN);
  let last = NaN;
  return told.map((x) => (last = x < last || Number.isNaN(x) ? last : x));
}

/** The first place whose x is at least `x`; those at the beginning without one do not count. */
export function firstAtLeast(xs: Float64Array, x: number): number {
  let low = 0;
  let high = xs.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (!((xs[middle] as number) >= x)) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The first and the last step of a part of the axis, with one more at each end. */
export function stepsWithin(run: Steps, axis: Axis, [low, high]: readonly [number, number]): [number, number] {
  const { steps } = run.series;
  const xs = xOf(run, axis);
  const from = steps[Math.max(0, firstAtLeast(xs, low) - 1)] ?? 0;
  return [from, steps[Math.min(steps.length - 1, firstAtLeast(xs, high))] ?? from];
}

/** An x in words. */
export function toldX(axis: Axis, x: number): string {
  if (axis === "step") return `step ${integer(x)}`;
  if (axis === "epoch") return `epoch ${significant(x)}`;
  return axis === "time" ? elapsed(x) : `${compact(x)} tokens`;
}

const MINUTE = 60;
const HOUR = 60 * MINUTE;

/** How uPlot writes on an axis, where that is otherwise than usual; times go by sixties. */
export function ticksOf(axis: Axis): { values?: (chart: unknown, ticks: number[]) => string[]; incrs?: number[] } {
  if (axis === "tokens") return { values: (_, ticks) => ticks.map((tick) => compact(tick)) };
  if (axis !== "time") return {};
  const seconds = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30];
  const minutes = [1, 2, 5, 10, 15, 30].map((count) => count * MINUTE);
  const hours = [1, 2, 3, 6, 12, 24, 48, 96, 240, 480].map((count) => count * HOUR);
  return { values: (_, ticks) => ticks.map((tick) => elapsed(tick)), incrs: [...seconds, ...minutes, ...hours] };
}
