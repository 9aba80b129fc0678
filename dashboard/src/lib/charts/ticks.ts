/** The words at the ticks of an axis. */

import { rounded } from "@/lib/text/format";

const MOST_DIGITS = 15;
const EXACT = 1e-3; // of the distance between two ticks: an error that nobody sees

/** Returns the numbers as texts with as many digits as tell each tick from the next. Null stands for no text. */
export function tickTexts(ticks: readonly (number | null)[]): string[] {
  const shown = ticks.filter((tick): tick is number => tick !== null);
  const digits = digitsFor(shown);
  return ticks.map((tick) => (tick === null ? "" : rounded(tick, digits)));
}

/** Returns the fewest significant digits with which every tick is exact. */
function digitsFor(ticks: readonly number[]): number {
  const gaps = ticks.slice(1).map((tick, at) => Math.abs(tick - (ticks[at] as number)));
  const allowed = EXACT * Math.min(...gaps, Math.abs(ticks[0] ?? 0) || Infinity);
  for (let digits = 1; digits < MOST_DIGITS; digits += 1) {
    if (ticks.every((tick) => Math.abs(Number(tick.toPrecision(digits)) - tick) <= allowed)) return digits;
  }
  return MOST_DIGITS;
}
