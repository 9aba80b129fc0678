import { useState } from "react";

import { type Axis, type Steps, xOf } from "@/lib/charts/axes";
import { linesOf } from "@/lib/charts/chartData";
import type { ChartSpec } from "@/lib/charts/chartSpecs";
import { indexOfBest, indexOfLast, rowsOf, type Series } from "@/lib/charts/series";
import { integer } from "@/lib/text/format";
import { Chart } from "@/components/charts/Chart";
import { ChartFrame } from "@/components/charts/ChartFrame";
import { Legend } from "@/components/charts/Legend";
import type { Plot } from "@/components/charts/plot";
import type { Zooming } from "@/components/charts/useZoom";

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

/** A chart of one job. Its legend holds the values under the pointer, or else the last and the best values. */
export function ChartCard({ spec, steps, version, jobId, log, smoothing, axis, zooming }: ChartCardProps) {
  const [hovered, setHovered] = useState<(number | null)[] | null>(null);
  const { zoom, zoomTo } = zooming;
  const { title, metric, columns, format, ticks } = spec;
  const { series } = steps;
  const plot: Plot = {
    drawn: columns.map((column, styleIndex) => ({ ...column, styleIndex })),
    linesOf: (view) => linesOf(series, columns, xOf(steps, axis), view),
    ...{ axis, format, ticks, log, smoothing, zoom },
  };
  const legend = columns.map(({ name, label, noisy }, styleIndex) => ({
    key: name,
    label,
    styleIndex,
    value: hovered ? format(hovered[styleIndex + 1]) : summary(series, name, spec, noisy),
  }));
  return (
    <ChartFrame
      {...{ title, plot }}
      columns={columns.map(({ name, label }) => ({ key: name, label }))}
      rows={() => rowsOf(series, columns.map(({ name }) => name))}
      fileName={`${jobId}-${metric}`}
      hovered={hovered?.[0] ?? null}
      legend={<Legend entries={legend} />}
      trainings={[steps]}
      className={metric === "loss" ? "lg:col-span-2" : ""}
    >
      <Chart key={axis} {...{ plot, version }} onZoom={zoomTo} onHover={setHovered} />
    </ChartFrame>
  );
}

/** The last value; for a validation metric also the best value, if it is another one. */
function summary(series: Series, name: string, { best, format }: ChartSpec, noisy: boolean): string {
  const values = series.column(name);
  if (!values) return "";
  const last = indexOfLast(values);
  if (last < 0) return format(null);
  const now = format(values[last]);
  const top = best && !noisy ? indexOfBest(values, best) : undefined;
  if (top === undefined || values[top] === values[last]) return now;
  return `${now}, best ${format(values[top])} at step ${integer(series.steps[top])}`;
}
