/** The curves of several trainings over each other. A training is a job or a candidate. */

import uPlot from "uplot";

import { type Axis, firstAtLeast, type Steps, xOf } from "./axes";
import { type Lines, linesOf, type View } from "./chartData";
import { type ChartSpec, chartSpecs, type Column } from "./chartSpecs";
import { indexOfLast } from "./series";

export interface Training extends Steps {
  id: string;
  name: string;
  /** It decides the colour and the dashes of the line. */
  styleIndex: number;
}

/** A chart of one column of the metrics, with a line for each training. */
export interface TrainingChart {
  column: Column;
  title: string;
  format: ChartSpec["format"];
  ticks: ChartSpec["ticks"];
  best?: ChartSpec["best"];
}

export function trainingCharts(trainings: readonly Training[]): TrainingChart[] {
  const names = new Set(trainings.flatMap(({ series }) => series.names));
  return chartSpecs([...names]).flatMap(({ title, columns, format, ticks, best }) =>
    columns.map((column) => {
      const whole = columns.length === 1 && column.label === "training" ? title : `${title}, ${column.label}`;
      return { column, title: whole, format, ticks, ...(best && { best }) };
    }),
  );
}

/** Returns the lines of all trainings on one x axis. Where one has no point at the x of another, its line goes on. */
export function overlaid(trainings: readonly Training[], column: Column, axis: Axis, view: View): Lines {
  const tables = trainings.map((training) => linesOf(training.series, [column], xOf(training, axis), view));
  if (tables.length === 0) return [[]];
  return uPlot.join(tables as uPlot.AlignedData[]) as Lines;
}

const NEAR = 1e-9; // the same epoch of two trainings may differ by rounding

/** Returns the last value at or before `x`. It is NaN before the first step and after the last step. */
export function valueAt(training: Training, name: string, axis: Axis, x: number): number {
  const values = training.series.column(name);
  const xs = xOf(training, axis);
  const beyond = firstAtLeast(xs, x + NEAR * Math.max(1, Math.abs(x)));
  if (!values || (beyond === xs.length && x > (xs.at(-1) ?? NaN) * (1 + NEAR))) return NaN;
  return values[indexOfLast(values.subarray(0, beyond))] ?? NaN;
}

/** Returns a row for each step of any training: the step, then the value of each training. NaN means no value. */
export function trainingRows(trainings: readonly Training[], name: string): number[][] {
  const rows = new Map<number, number[]>();
  trainings.forEach(({ series }, at) => {
    const values = series.column(name);
    for (let index = 0; index < series.length; index += 1) {
      const value = values?.[index] ?? NaN;
      if (Number.isNaN(value)) continue;
      const step = series.steps[index] as number;
      const row = rows.get(step) ?? Array<number>(trainings.length).fill(NaN);
      row[at] = value;
      rows.set(step, row);
    }
  });
  return [...rows].sort(([a], [b]) => a - b).map(([step, values]) => [step, ...values]);
}
