/** Turns a series into the few thousand points that a chart draws. */

import { firstAtLeast } from "./axes";
import type { Column } from "./chartSpecs";
import type { Series } from "./series";
import { smooth } from "./smoothing";
import { indicesToDraw } from "./thinning";

/**
 * `[x, first line, second line, …]`. A noisy column has two lines: its raw values and its smoothed values. Null makes a
 * gap in a line; undefined makes none.
 */
export type Lines = [number[], ...(number | null | undefined)[][]];

export interface View {
  /** The bounds of the x that are drawn; null for all. */
  zoom: readonly [number, number] | null;
  /** The weight of the past; 0 for no smoothing. */
  smoothing: number;
  /** Whether the y axis is logarithmic. Such an axis shows only positive values. */
  log: boolean;
  /** The number of stretches into which the steps are divided. About one for two pixels of width is enough. */
  buckets: number;
}

/** Returns the lines of the columns. `xs` holds the x of each step. */
export function linesOf(series: Series, columns: readonly Column[], xs: Float64Array, view: View): Lines {
  const raw = columns.map((column) => valuesOf(series, column));
  const [from, to] = bounds(xs, view.zoom);
  const indices = indicesToDraw(raw, from, to, view.buckets);
  const pick = (column: Float64Array) => Array.from(indices, (index) => drawable(column[index] as number, view.log));
  const lines: (number | null)[][] = [];
  columns.forEach(({ noisy }, at) => {
    const column = raw[at] as Float64Array;
    lines.push(pick(column));
    if (noisy) lines.push(view.smoothing ? pick(smooth(column, view.smoothing)) : Array(indices.length).fill(null));
  });
  return [Array.from(indices, (index) => xs[index] as number), ...lines];
}

/** Returns the value of a column at each step. NaN means that the step has none. */
export function valuesOf(series: Series, { name, levelOf }: Column): Float64Array {
  if (levelOf === undefined) return series.column(name) ?? new Float64Array(series.length).fill(NaN);
  const level = series.steps[0] === 0 ? (series.column(levelOf)?.[0] ?? NaN) : NaN;
  return new Float64Array(series.length).fill(level);
}

/** Returns the first and the last x. They are never equal, because uPlot would then search for ticks without end. */
export function extent(x: readonly number[]): [number, number] {
  const [first, last] = [x[0] ?? 0, x.at(-1) ?? 1];
  return first < last ? [first, last] : [first - 0.5, first + 0.5];
}

function drawable(value: number, log: boolean): number | null {
  return Number.isNaN(value) || (log && value <= 0) ? null : value;
}

/** Returns the indices of the zoomed part, and one more at each end, so that the lines reach the edges of the chart. */
function bounds(xs: Float64Array, zoom: View["zoom"]): [number, number] {
  const begin = firstAtLeast(xs, -Infinity);
  if (!zoom) return [begin, xs.length];
  const [low, high] = zoom;
  return [Math.max(begin, firstAtLeast(xs, low) - 1), Math.min(xs.length, firstAtLeast(xs, high) + 2)];
}
