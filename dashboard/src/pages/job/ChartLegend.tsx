import type { ChartSpec } from "@/lib/charts/chartSpecs";
import { integer } from "@/lib/text/format";
import { placeOfLast, placeOfBest, type Series } from "@/lib/charts/series";
import { LineSample } from "@/parts/charts/LineSample";

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
          <dd>{hovered ? spec.format(hovered[place]) : summary(series, name, spec, dense)}</dd>
        </div>
      ))}
    </dl>
  );
}

/** The last value, and of validation the best one where it is another. */
function summary(series: Series, name: string, { best, format }: ChartSpec, dense: boolean): string {
  const values = series.column(name);
  if (!values) return "";
  const last = placeOfLast(values);
  if (last < 0) return format(null);
  const now = format(values[last]);
  const top = best && !dense ? placeOfBest(values, best) : undefined;
  if (top === undefined || values[top] === values[last]) return now;
  return `${now}, best ${format(values[top])} at step ${integer(series.steps[top])}`;
}
