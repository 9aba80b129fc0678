import type { ChartSpec } from "@/lib/charts";
import { integer, significant } from "@/lib/format";
import { placeOfLast, placeOfBest, type Series } from "@/lib/series";
import { colourName } from "@/parts/chartOptions";

const DASHES = ["none", "6 3", "2 3"];

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
            <svg aria-hidden="true" width="18" height="4" style={{ color: `var(${colourName(place)})` }}>
              <path d="M0 2h18" stroke="currentColor" strokeWidth="2" strokeDasharray={DASHES[place % DASHES.length]} />
            </svg>
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
