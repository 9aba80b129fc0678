import type { Series } from "@/lib/charts/series";
import { integer } from "@/lib/text/format";

/** Says that not all steps of long trainings are drawn. */
export function ThinnedNote({ series }: { series: readonly Series[] }) {
  const thinned = series.filter(({ leftOut }) => leftOut);
  if (!thinned.length) return null;
  const [drawn, all] = [thinned.map(({ length }) => length), thinned.map(({ lastStep }) => lastStep)].map(sum);
  return (
    <p className="fact">
      Thinned: {integer(drawn)} of {integer(all)} steps are drawn, with the smallest and the largest value of each
      stretch. Zooming in reads that part in more detail. The CSV has all steps.
    </p>
  );
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
