import type { Axis } from "@/lib/charts/axes";
import { type Run, type RunChart, valueAt } from "@/lib/charts/runs";
import { placeOfBest, placeOfLast } from "@/lib/charts/series";
import { LineSample } from "@/parts/charts/LineSample";

interface RunLegendProps {
  chart: RunChart;
  runs: readonly Run[];
  axis: Axis;
  /** The x under the pointer. */
  hovered: number | null;
}

export function RunLegend({ chart, runs, axis, hovered }: RunLegendProps) {
  const { name } = chart.column;
  return (
    <dl className="flex flex-wrap gap-x-4 px-3 py-1 text-xs">
      {runs.map((run) => (
        <div key={run.id} className="flex min-w-0 items-center gap-1.5">
          <dt className="flex min-w-0 items-center gap-1.5 text-muted">
            <LineSample place={run.place} />
            <span className="max-w-48 truncate">{run.name}</span>
          </dt>
          <dd>{hovered === null ? summary(run, chart) : chart.format(valueAt(run, name, axis, hovered))}</dd>
        </div>
      ))}
    </dl>
  );
}

/** The best value where one is, of what is measured now and then; else the last one. */
function summary({ series }: Run, { column, format, best }: RunChart): string {
  const values = series.column(column.name);
  if (!values) return format(null);
  const place = best && !column.dense ? placeOfBest(values, best) : placeOfLast(values);
  const value = format(place < 0 ? null : values[place]);
  return best && !column.dense && place >= 0 ? `best ${value}` : value;
}
