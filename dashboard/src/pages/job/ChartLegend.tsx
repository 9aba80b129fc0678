import type { ChartSpec } from "@/lib/charts";
import { integer, significant } from "@/lib/format";
import { placeOfLast, placeOfBest, type Series } from "@/lib/series";
import { LineSample } from "@/parts/LineSample";

interface ChartLegendProps {
  spec: ChartSpec;
  series: Series;
  hovered: (number | null)[] | null;
}

export function ChartLegend({ spec, series, hovered }: ChartLegendProps) {
  return (
    <dl className="flex flex-wrap gap-x-4 px-3 py-1 text-xs">
      {spec.columns.map(({ name, label, dense }, place) => (
        <div key={name} className="flex items-center gap-1.5">
          <dt className="flex items-center gap-1.5 text-muted">
            <LineSample place={place} />
            {label}
          </dt>
          <dd>{hovered ? significant(hovered[place]) : summary(series, name, dense ? undefined : spec.best)}</dd>
        </div>
      ))}
    </dl>
  );
}

/** The last value, and of validation the best one where it is another. */
function summary(series: Series, name: string, best: ChartSpec["best"]): string {
  const values = series.column(name);
  if (!values) return "";
  const last = placeOfLast(values);
  if (last < 0) return significant(null);
  const now = significant(values[last]);
  const top = best && placeOfBest(values, best);
  if (top === undefined || values[top] === values[last]) return now;
  return `${now}, best ${significant(values[top])} at step ${integer(series.steps[top])}`;
}
