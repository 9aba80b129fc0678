import { useState } from "react";

import { linesOf } from "@/lib/chartData";
import type { ChartSpec } from "@/lib/charts";
import type { Axis } from "@/lib/curveSearch";
import { rowsOf, type Series } from "@/lib/series";
import { Chart } from "@/parts/Chart";
import { ChartFrame } from "@/parts/ChartFrame";

import { ChartLegend } from "./ChartLegend";

interface ChartCardProps {
  spec: ChartSpec;
  series: Series;
  version: number;
  jobId: string;
  log: boolean;
  smoothing: number;
  axis: Axis;
  stepsPerX: number;
}

/** A chart with its values in words: those under the pointer, else the last and the best ones. */
export function ChartCard({ spec, series, version, jobId, log, smoothing, axis, stepsPerX }: ChartCardProps) {
  const [hovered, setHovered] = useState<(number | null)[] | null>(null);
  const [zoom, setZoom] = useState<[number, number] | null>(null);
  const { title, measure, columns } = spec;
  return (
    <ChartFrame
      {...{ title, axis }}
      columns={columns.map(({ name, label }) => ({ key: name, label }))}
      rows={() => rowsOf(series, columns.map(({ name }) => name))}
      fileName={`${jobId}-${measure}`}
      hovered={hovered?.[0] ?? null}
      legend={<ChartLegend spec={spec} series={series} hovered={hovered?.slice(1) ?? null} />}
      zoomed={zoom !== null}
      onUnzoom={() => setZoom(null)}
      className={measure === "loss" ? "lg:col-span-2" : ""}
    >
      <Chart
        key={axis}
        {...{ version, log, smoothing, stepsPerX, zoom }}
        drawn={columns.map(({ name, dense }, place) => ({ name, dense, place }))}
        linesOf={(view) => linesOf(series, spec, view)}
        onZoom={setZoom}
        onHover={setHovered}
      />
    </ChartFrame>
  );
}
