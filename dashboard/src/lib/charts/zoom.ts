/** The part of the x axis that charts show, and how it is moved without a pointer. */

import { type Axis, firstAtLeast, type Steps, xOf } from "./axes";

export type Part = readonly [low: number, high: number];
export type Move = "in" | "out" | "back" | "on";

const MOST_TIMES = 1024;
const FEWEST_STEPS = 2;

/** From the first x of any run to the last; null before there are two. */
export function wholeOf(runs: readonly Steps[], axis: Axis): Part | null {
  const ends = runs.flatMap((run) => {
    const xs = xOf(run, axis);
    const first = firstAtLeast(xs, -Infinity);
    return first < xs.length ? [xs[first] as number, xs.at(-1) as number] : [];
  });
  const [low, high] = [Math.min(...ends), Math.max(...ends)];
  return low < high ? [low, high] : null;
}

/** Half of what is shown, or twice as much, or what is beside it by half of its width; null is the whole. */
export function moved(zoom: Part | null, whole: Part, axis: Axis, move: Move): [number, number] | null {
  const [first, last] = whole;
  const [low, high] = zoom ?? whole;
  const width = high - low;
  if (move === "in" || move === "out") {
    const narrowest = Math.max((last - first) / MOST_TIMES, axis === "step" ? FEWEST_STEPS : 0);
    const next = move === "in" ? Math.max(width / 2, Math.min(width, narrowest)) : width * 2;
    return within(low + width / 2 - next / 2, next, whole);
  }
  return within(low + (move === "on" ? width / 2 : -width / 2), width, whole);
}

/** A part as wide as that which goes beyond no end. */
function within(low: number, width: number, [first, last]: Part): [number, number] | null {
  if (width >= last - first) return null;
  const from = Math.min(Math.max(low, first), last - width);
  return [from, from + width];
}

/** The first and the last step of any run in a part of the axis; null where there is none. */
export function stepsInside(runs: readonly Steps[], axis: Axis, [low, high]: Part): Part | null {
  const ends = runs.flatMap((run) => {
    const xs = xOf(run, axis);
    const from = firstAtLeast(xs, low);
    let beyond = firstAtLeast(xs, high);
    while (xs[beyond] === high) beyond += 1;
    return from < beyond ? [run.series.steps[from] as number, run.series.steps[beyond - 1] as number] : [];
  });
  return ends.length ? [Math.min(...ends), Math.max(...ends)] : null;
}
