import { useState } from "react";

import { type Axis, type Steps, xOf } from "@/lib/charts/axes";
import { linesOf, valuesOf } from "@/lib/charts/chartData";
import type { ChartSpec, Column } from "@/lib/charts/chartSpecs";
import { indexOfBest, indexOfLast, rowsOf, type Series } from "@/lib/charts/series";
import { integer } from "@/lib/text/format";
import { Chart } from "@/components/charts/Chart";
import { ChartFrame } from "@/components/charts/ChartFrame";
import { Legend } from "@/components/charts/Legend";
import type { Plot } from "@/components/charts/plot";
import type { Zooming } from "@/components/charts/useZoom";

interface ChartCardProps {
  spec: ChartSpec;
  /** Whether the chart has the room of two. */
  isWide: boolean;
  steps: Steps;
  version: number;
  jobId: string;
  log: boolean;
  smoothing: number;
  axis: Axis;
  zooming: Zooming;
}

/** A chart of one job. Its legend holds the values under the pointer, or else the last and the best values. */
export function ChartCard({ spec, isWide, steps, version, jobId, log, smoothing, axis, zooming }: ChartCardProps) {
  const [hovered, setHovered] = useState<(number | null)[] | null>(null);
  const { zoom, zoomTo } = zooming;
  const { title, metric, columns, format, ticks } = spec;
  const { series } = steps;
  const plot: Plot = {
    drawn: columns.map((column, styleIndex) => ({ ...column, styleIndex })),
    linesOf: (view) => linesOf(series, columns, xOf(steps, axis), view),
    ...{ axis, format, ticks, log, smoothing, zoom },
  };
  const legend = columns.map((column, styleIndex) => ({
    key: column.name,
    label: column.label,
    styleIndex,
    value: hovered ? format(hovered[styleIndex + 1]) : summary(series, column, spec),
  }));
  const measured = columns.filter(({ levelOf }) => levelOf === undefined);
  return (
    <ChartFrame
      {...{ title, plot }}
      columns={measured.map(({ name, label }) => ({ key: name, label }))}
      rows={() => rowsOf(series, measured.map(({ name }) => name))}
      fileName={`${jobId}-${metric}`}
      hovered={hovered?.[0] ?? null}
      legend={<Legend entries={legend} />}
      trainings={[steps]}
      className={isWide ? "lg:col-span-2" : ""}
    >
      <Chart key={axis} {...{ plot, version }} onZoom={zoomTo} onHover={setHovered} />
    </ChartFrame>
  );
}

/** The last value; for a validation metric also the best value, if it is another one. */
function summary(series: Series, column: Column, { best, format }: ChartSpec): string {
  const values = valuesOf(series, column);
  const last = indexOfLast(values);
  if (last < 0) return format(null);
  const now = format(values[last]);
  const top = best && !column.noisy ? indexOfBest(values, best) : undefined;
  if (top === undefined || values[top] === values[last]) return now;
  return `${now}, best ${format(values[top])} at step ${integer(series.steps[top])}`;
}
