import { useState } from "react";

import type { Axis } from "@/lib/charts/axes";
import { overlaid, type Training, type TrainingChart, trainingRows, valueAt } from "@/lib/charts/trainings";
import { indexOfBest, indexOfLast } from "@/lib/charts/series";
import { Chart } from "@/components/charts/Chart";
import { ChartFrame } from "@/components/charts/ChartFrame";
import { Legend } from "@/components/charts/Legend";
import type { Plot } from "@/components/charts/plot";
import type { Zooming } from "@/components/charts/useZoom";

interface TrainingCardProps {
  chart: TrainingChart;
  trainings: readonly Training[];
  version: string;
  fileName: string;
  log: boolean;
  smoothing: number;
  axis: Axis;
  zooming: Zooming;
}

/** A chart of one column of the metrics, with a line for each training. */
export function TrainingCard({ chart, trainings, version, fileName, log, smoothing, axis, zooming }: TrainingCardProps) {
  const [hovered, setHovered] = useState<number | null>(null);
  const { zoom, zoomTo } = zooming;
  const { column, title, format, ticks } = chart;
  const plot: Plot = {
    drawn: trainings.map(({ id, name, styleIndex }) => ({ name: id, label: name, noisy: column.noisy, styleIndex })),
    linesOf: (view) => overlaid(trainings, column, axis, view),
    ...{ axis, format, ticks, log, smoothing, zoom },
  };
  const legend = trainings.map((training) => ({
    key: training.id,
    label: training.name,
    styleIndex: training.styleIndex,
    value: hovered === null ? summary(training, chart) : format(valueAt(training, column.name, axis, hovered)),
  }));
  return (
    <ChartFrame
      {...{ title, plot, hovered }}
      columns={trainings.map(({ id, name }) => ({ key: id, label: name }))}
      rows={() => trainingRows(trainings, column.name)}
      fileName={`${fileName}-${column.name}`}
      legend={<Legend entries={legend} />}
      trainings={trainings}
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
function summary({ series }: Training, { column, format, best }: TrainingChart): string {
  const values = series.column(column.name);
  if (!values) return format(null);
  const index = best && !column.noisy ? indexOfBest(values, best) : indexOfLast(values);
  const value = format(index < 0 ? null : values[index]);
  return best && !column.noisy && index >= 0 ? `best ${value}` : value;
}
