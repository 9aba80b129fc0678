import { useState } from "react";

import { type Axis, type Steps, xOf } from "@/lib/charts/axes";
import { linesOf } from "@/lib/charts/chartData";
import type { ChartSpec } from "@/lib/charts/chartSpecs";
import { rowsOf } from "@/lib/charts/series";
import { Chart } from "@/parts/charts/Chart";
import { ChartFrame } from "@/parts/charts/ChartFrame";
import type { Plot } from "@/parts/charts/plot";
import type { Zooming } from "@/parts/charts/useZoom";

import { ChartLegend } from "./ChartLegend";

interface ChartCardProps {
  spec: ChartSpec;
  steps: Steps;
  version: number;
  jobId: string;
  log: boolean;
  smoothing: number;
  axis: Axis;
  zooming: Zooming;
}

/** A chart with its values in words: those under the pointer, else the last and the best ones. */
export function ChartCard({ spec, steps, version, jobId, log, smoothing, axis, zooming }: ChartCardProps) {
  const [hovered, setHovered] = useState<(number | null)[] | null>(null);
  const { zoom, zoomTo } = zooming;
  const { title, measure, columns, format } = spec;
  const { series } = steps;
  const plot: Plot = {
    drawn: columns.map((column, place) => ({ ...column, place })),
    linesOf: (view) => linesOf(series, columns, xOf(steps, axis), view),
    ...{ axis, format, log, smoothing, zoom },
  };
  return (
    <ChartFrame
      {...{ title, plot }}
      columns={columns.map(({ name, label }) => ({ key: name, label }))}
      rows={() => rowsOf(series, columns.map(({ name }) => name))}
      fileName={`${jobId}-${measure}`}
      hovered={hovered?.[0] ?? null}
      legend={<ChartLegend spec={spec} series={series} hovered={hovered?.slice(1) ?? null} />}
      runs={[steps]}
      className={measure === "loss" ? "lg:col-span-2" : ""}
    >
      <Chart key={axis} {...{ plot, version }} onZoom={zoomTo} onHover={setHovered} />
    </ChartFrame>
  );
}
