/** How the lines of charts look: no two of the first forty alike, in colour or in dashes. */

export const COLOURS = 8; // `--series-1` and so on
const DASHES: readonly (readonly number[])[] = [[], [6, 3], [2, 3], [9, 3, 2, 3], [14, 4]];

export interface Look {
  /** A custom property. */
  colour: string;
  /** Pixels drawn and left out; none for a solid line. */
  dash: readonly number[];
}

export function lookOf(place: number): Look {
  return { colour: `--series-${(place % COLOURS) + 1}`, dash: DASHES[place % DASHES.length] ?? [] };
}
