import { useState } from "react";

import type { Axis } from "@/lib/charts/axes";
import { overlaid, type Run, type RunChart, runRows, valueAt } from "@/lib/charts/runs";
import { indexOfBest, indexOfLast } from "@/lib/charts/series";
import { Chart } from "@/components/charts/Chart";
import { ChartFrame } from "@/components/charts/ChartFrame";
import { Legend } from "@/components/charts/Legend";
import type { Plot } from "@/components/charts/plot";
import type { Zooming } from "@/components/charts/useZoom";

interface RunCardProps {
  chart: RunChart;
  runs: readonly Run[];
  version: string;
  fileName: string;
  log: boolean;
  smoothing: number;
  axis: Axis;
  zooming: Zooming;
}

/** A chart of one column of the metrics, with a line for each run. */
export function RunCard({ chart, runs, version, fileName, log, smoothing, axis, zooming }: RunCardProps) {
  const [hovered, setHovered] = useState<number | null>(null);
  const { zoom, zoomTo } = zooming;
  const { column, title, format, ticks } = chart;
  const plot: Plot = {
    drawn: runs.map(({ id, name, styleIndex }) => ({ name: id, label: name, noisy: column.noisy, styleIndex })),
    linesOf: (view) => overlaid(runs, column, axis, view),
    ...{ axis, format, ticks, log, smoothing, zoom },
  };
  const legend = runs.map((run) => ({
    key: run.id,
    label: run.name,
    styleIndex: run.styleIndex,
    value: hovered === null ? summary(run, chart) : format(valueAt(run, column.name, axis, hovered)),
  }));
  return (
    <ChartFrame
      {...{ title, plot, hovered }}
      columns={runs.map(({ id, name }) => ({ key: id, label: name }))}
      rows={() => runRows(runs, column.name)}
      fileName={`${fileName}-${column.name}`}
      legend={<Legend entries={legend} />}
      runs={runs}
    >
      <Chart
        key={axis}
        {...{ plot, version }}
        onZoom={zoomTo}
        onHover={(values) => setHovered(values?.[0] ?? null)}
      />
    </ChartFrame>
  );
}

/** The best value of a validation metric; the last value of any other metric. */
function summary({ series }: Run, { column, format, best }: RunChart): string {
  const values = series.column(column.name);
  if (!values) return format(null);
  const index = best && !column.noisy ? indexOfBest(values, best) : indexOfLast(values);
  const value = format(index < 0 ? null : values[index]);
  return best && !column.noisy && index >= 0 ? `best ${value}` : value;
}
