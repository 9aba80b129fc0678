/** The x axes that a chart can have, and the x of each step of a training. */

import { compact, elapsed, integer, significant } from "@/lib/text/format";

import type { Series } from "./series";
import { tickTexts } from "./ticks";

export const AXES = ["step", "epoch", "time", "tokens"] as const;
export type Axis = (typeof AXES)[number];

/** The metrics that hold the x of each step. They only grow, so they get no chart of their own. */
const COLUMNS: Partial<Record<Axis, string>> = { time: "trained_seconds", tokens: "trained_tokens" };
export const AXIS_COLUMNS: readonly string[] = Object.values(COLUMNS);

/** The steps of one training. */
export interface Steps {
  series: Series;
  /** Null while epochs are not known. */
  stepsPerEpoch: number | null;
}

/** Returns the axes that are known for all trainings. A training without steps rules out no axis. */
export function axesOf(trainings: readonly Steps[]): Axis[] {
  return AXES.filter((axis) => trainings.every((training) => training.series.length === 0 || isKnown(training, axis)));
}

/** Returns the axis that the address names, or `step` if that axis is not offered. */
export function axisOf(wanted: Axis | undefined, offered: readonly Axis[]): Axis {
  return wanted && offered.includes(wanted) ? wanted : "step";
}

function isKnown({ series, stepsPerEpoch }: Steps, axis: Axis): boolean {
  if (axis === "epoch") return stepsPerEpoch !== null;
  const name = COLUMNS[axis];
  return name === undefined || !Number.isNaN(series.column(name)?.at(-1) ?? NaN);
}

/**
 * Returns the x of each step. The x never falls, although steps that are made again after a crash come before steps of
 * the first attempt, until these are replaced. Steps at the beginning without a value are NaN.
 */
export function xOf({ series, stepsPerEpoch }: Steps, axis: Axis): Float64Array {
  const { steps } = series;
  if (axis === "step") return steps;
  if (axis === "epoch") return steps.map((step) => step / (stepsPerEpoch ?? 1));
  const values = series.column(COLUMNS[axis] ?? "") ?? new Float64Array(steps.length).fill(NaN);
  let last = NaN;
  return values.map((x) => (last = x < last || Number.isNaN(x) ? last : x));
}

/** Returns the first index whose x is at least `x`. Steps at the beginning without an x do not count. */
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

/** Returns the first and the last step of a part of the axis, with one more step at each end. */
export function stepsWithin(training: Steps, axis: Axis, [low, high]: readonly [number, number]): [number, number] {
  const { steps } = training.series;
  const xs = xOf(training, axis);
  const from = steps[Math.max(0, firstAtLeast(xs, low) - 1)] ?? 0;
  return [from, steps[Math.min(steps.length - 1, firstAtLeast(xs, high))] ?? from];
}

/** Writes an x with the name or the unit of its axis. */
export function xInWords(axis: Axis, x: number): string {
  if (axis === "step") return `step ${integer(x)}`;
  if (axis === "epoch") return `epoch ${significant(x)}`;
  return axis === "time" ? elapsed(x) : `${compact(x)} tokens`;
}

const MINUTE = 60;
const HOUR = 60 * MINUTE;

const WHOLE = [1, 2, 5].flatMap((digit) => Array.from({ length: 9 }, (_, power) => digit * 10 ** power)).sort((a, b) => a - b);

/** Returns uPlot's settings for the ticks of an axis. Steps are whole numbers, and times are divided by sixties. */
export function ticksOf(axis: Axis): { values: (chart: unknown, ticks: number[]) => string[]; incrs?: number[] } {
  if (axis === "step") return { values: (_, ticks) => ticks.map((tick) => integer(tick)), incrs: WHOLE };
  if (axis === "epoch") return { values: (_, ticks) => tickTexts(ticks) };
  if (axis === "tokens") return { values: (_, ticks) => ticks.map((tick) => compact(tick)) };
  const seconds = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30];
  const minutes = [1, 2, 5, 10, 15, 30].map((count) => count * MINUTE);
  const hours = [1, 2, 3, 6, 12, 24, 48, 96, 240, 480].map((count) => count * HOUR);
  return { values: (_, ticks) => ticks.map((tick) => elapsed(tick)), incrs: [...seconds, ...minutes, ...hours] };
}
