import { useState } from "react";

import type { Axis } from "@/lib/charts/axes";
import { overlaid, type Run, type RunChart, runRows } from "@/lib/charts/runs";
import { Chart } from "@/parts/charts/Chart";
import { ChartFrame } from "@/parts/charts/ChartFrame";
import type { Plot } from "@/parts/charts/plot";
import type { Zooming } from "@/parts/charts/useZoom";

import { RunLegend } from "./RunLegend";

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

/** A chart of all runs with its values in words. */
export function RunCard({ chart, runs, version, fileName, log, smoothing, axis, zooming }: RunCardProps) {
  const [hovered, setHovered] = useState<number | null>(null);
  const { zoom, zoomTo } = zooming;
  const { column, title, format } = chart;
  const plot: Plot = {
    drawn: runs.map(({ id, name, place }) => ({ name: id, label: name, dense: column.dense, place })),
    linesOf: (view) => overlaid(runs, column, axis, view),
    ...{ axis, format, log, smoothing, zoom },
  };
  return (
    <ChartFrame
      {...{ title, plot, hovered }}
      columns={runs.map(({ id, name }) => ({ key: id, label: name }))}
      rows={() => runRows(runs, column.name)}
      fileName={`${fileName}-${column.name}`}
      legend={<RunLegend chart={chart} runs={runs} axis={axis} hovered={hovered} />}
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
