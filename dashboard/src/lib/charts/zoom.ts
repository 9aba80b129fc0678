/** The part of the x axis that charts show, and how buttons change it. */

import { type Axis, firstAtLeast, type Steps, xOf } from "./axes";

export type AxisPart = readonly [low: number, high: number];
export type Move = "in" | "out" | "back" | "on";

const MOST_TIMES = 1024;
const FEWEST_STEPS = 2;

/** Returns the first and the last x of any training; null while no training has two. */
export function wholeOf(trainings: readonly Steps[], axis: Axis): AxisPart | null {
  const ends = trainings.flatMap((training) => {
    const xs = xOf(training, axis);
    const first = firstAtLeast(xs, -Infinity);
    return first < xs.length ? [xs[first] as number, xs.at(-1) as number] : [];
  });
  const [low, high] = [Math.min(...ends), Math.max(...ends)];
  return low < high ? [low, high] : null;
}

/**
 * Returns the part after a move: half or twice the width, or the same width moved by half of it. Null stands for the
 * whole axis.
 */
export function moved(zoom: AxisPart | null, whole: AxisPart, axis: Axis, move: Move): [number, number] | null {
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

/** Returns a part of this width that does not go beyond the ends of the axis. */
function within(low: number, width: number, [first, last]: AxisPart): [number, number] | null {
  if (width >= last - first) return null;
  const from = Math.min(Math.max(low, first), last - width);
  return [from, from + width];
}

/** Returns the first and the last step of any training in a part of the axis; null if there is none. */
export function stepsInside(trainings: readonly Steps[], axis: Axis, [low, high]: AxisPart): AxisPart | null {
  const ends = trainings.flatMap((training) => {
    const xs = xOf(training, axis);
    const from = firstAtLeast(xs, low);
    let beyond = firstAtLeast(xs, high);
    while (xs[beyond] === high) beyond += 1;
    return from < beyond ? [training.series.steps[from] as number, training.series.steps[beyond - 1] as number] : [];
  });
  return ends.length ? [Math.min(...ends), Math.max(...ends)] : null;
}
