/** From a series to the few thousand points that a chart draws. */

import { firstAtLeast } from "./axes";
import type { Column } from "./chartSpecs";
import { placesToDraw } from "./thinning";
import type { Series } from "./series";
import { smooth } from "./smoothing";

/** `[x, first line, second line, …]`: a dense column has two lines, its raw values and the smoothed ones. Undefined is no gap. */
export type Lines = [number[], ...(number | null | undefined)[][]];

export interface View {
  /** Bounds of x to draw; null for all. */
  zoom: readonly [number, number] | null;
  /** Weight of the past, 0 for none. */
  smoothing: number;
  /** On a logarithmic axis only positive values can be drawn. */
  log: boolean;
  /** About two for each point of the chart's width are enough. */
  buckets: number;
}

/** `xs` is each step's x. */
export function linesOf(series: Series, columns: readonly Column[], xs: Float64Array, view: View): Lines {
  const raw = columns.map(({ name }) => series.column(name) ?? new Float64Array(xs.length).fill(NaN));
  const [from, to] = bounds(xs, view.zoom);
  const places = placesToDraw(raw, from, to, view.buckets);
  const pick = (column: Float64Array) => Array.from(places, (place) => drawable(column[place] as number, view.log));
  const lines: (number | null)[][] = [];
  columns.forEach(({ dense }, at) => {
    const column = raw[at] as Float64Array;
    lines.push(pick(column));
    if (dense) lines.push(view.smoothing ? pick(smooth(column, view.smoothing)) : Array(places.length).fill(null));
  });
  return [Array.from(places, (place) => xs[place] as number), ...lines];
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
function bounds(xs: Float64Array, zoom: View["zoom"]): [number, number] {
  const begin = firstAtLeast(xs, -Infinity);
  if (!zoom) return [begin, xs.length];
  const [low, high] = zoom;
  return [Math.max(begin, firstAtLeast(xs, low) - 1), Math.min(xs.length, firstAtLeast(xs, high) + 2)];
}
