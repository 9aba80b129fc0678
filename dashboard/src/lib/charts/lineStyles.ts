/** The styles of the lines in charts. The first forty styles all differ, in colour or in dashes. */

export const COLOURS = 8; // `--series-1` and so on
const DASHES: readonly (readonly number[])[] = [[], [6, 3], [2, 3], [9, 3, 2, 3], [14, 4]];

export interface LineStyle {
  /** A custom property of the style sheet. */
  colour: string;
  /** The lengths of dashes and gaps in pixels; an empty list for a solid line. */
  dash: readonly number[];
}

export function lineStyleOf(index: number): LineStyle {
  return { colour: `--series-${(index % COLOURS) + 1}`, dash: DASHES[index % DASHES.length] ?? [] };
}
