import { integer } from "@/lib/text/format";
import type { Series } from "@/lib/charts/series";

/** Says of long runs that not all of their steps are drawn. */
export function ThinnedNote({ series }: { series: readonly Series[] }) {
  const thinned = series.filter(({ leftOut }) => leftOut);
  if (!thinned.length) return null;
  const [drawn, all] = [thinned.map(({ length }) => length), thinned.map(({ lastStep }) => lastStep)].map(sum);
  return (
    <p className="fact">
      Thinned: {integer(drawn)} of {integer(all)} steps, with the smallest and the largest values of each stretch. A part
      that is zoomed into is read anew; the CSV has all.
    </p>
  );
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
