/** From a series to the few thousand points that a chart draws. */

import type { ChartSpec } from "./charts";
import { placesToDraw } from "./decimate";
import type { Series } from "./series";
import { smooth } from "./smoothing";

/** `[x, first line, second line, …]`: a dense column has two lines, its raw values and the smoothed ones. Undefined is no gap. */
export type Lines = [number[], ...(number | null | undefined)[][]];

export interface View {
  /** Bounds of x to draw; null for all. */
  zoom: readonly [number, number] | null;
  /** Weight of the past, 0 for none. */
  smoothing: number;
  /** What one unit of x is, in steps. */
  stepsPerX: number;
  /** On a logarithmic axis only positive values can be drawn. */
  log: boolean;
  /** About two for each point of the chart's width are enough. */
  buckets: number;
}

export function linesOf(series: Series, spec: ChartSpec, view: View): Lines {
  const { steps } = series;
  const raw = spec.columns.map(({ name }) => series.column(name) ?? new Float64Array(steps.length).fill(NaN));
  const [from, to] = view.zoom ? bounds(steps, view.zoom, view.stepsPerX) : [0, steps.length];
  const places = placesToDraw(raw, from, to, view.buckets);
  const pick = (column: Float64Array) => Array.from(places, (place) => drawable(column[place] as number, view.log));
  const lines: (number | null)[][] = [];
  spec.columns.forEach(({ dense }, at) => {
    const column = raw[at] as Float64Array;
    lines.push(pick(column));
    if (dense) lines.push(view.smoothing ? pick(smooth(column, view.smoothing)) : Array(places.length).fill(null));
  });
  return [Array.from(places, (place) => (steps[place] as number) / view.stepsPerX), ...lines];
}

/** From the first x to the last. Never of no width: uPlot would look for its ticks without end. */
export function extent(x: readonly number[]): [number, number] {
  const [first, last] = [x[0] ?? 0, x.at(-1) ?? 1];
  return first < last ? [first, last] : [first - 0.5, first + 0.5];
}

function drawable(value: number, log: boolean): number | null {
  return Number.isNaN(value) || (log && value <= 0) ? null : value;
}

/** The places in the zoomed part and one more at each end, so that lines lead out of the picture. */
function bounds(steps: Float64Array, [low, high]: readonly [number, number], stepsPerX: number): [number, number] {
  const from = firstAtLeast(steps, low * stepsPerX) - 1;
  const to = firstAtLeast(steps, high * stepsPerX) + 2;
  return [Math.max(0, from), Math.min(steps.length, to)];
}

function firstAtLeast(steps: Float64Array, step: number): number {
  let low = 0;
  let high = steps.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((steps[middle] as number) < step) low = middle + 1;
    else high = middle;
  }
  return low;
}
