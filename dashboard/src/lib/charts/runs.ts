/** The curves of several runs over each other. A run is a job or a candidate. */

import uPlot from "uplot";

import { type Axis, firstAtLeast, type Steps, xOf } from "./axes";
import { type Lines, linesOf, type View } from "./chartData";
import { type ChartSpec, chartSpecs, type Column } from "./chartSpecs";
import { indexOfLast } from "./series";

export interface Run extends Steps {
  id: string;
  name: string;
  /** It decides the colour and the dashes of the line. */
  styleIndex: number;
}

/** A chart of one column of the metrics, with a line for each run. */
export interface RunChart {
  column: Column;
  title: string;
  format: ChartSpec["format"];
  ticks: ChartSpec["ticks"];
  best?: ChartSpec["best"];
}

export function runCharts(runs: readonly Run[]): RunChart[] {
  const names = new Set(runs.flatMap(({ series }) => series.names));
  return chartSpecs([...names]).flatMap(({ title, columns, format, ticks, best }) =>
    columns.map((column) => {
      const whole = columns.length === 1 && column.label === "training" ? title : `${title}, ${column.label}`;
      return { column, title: whole, format, ticks, ...(best && { best }) };
    }),
  );
}

/** Returns the lines of all runs on one x axis. Where a run has no point at the x of another run, its line goes on. */
export function overlaid(runs: readonly Run[], column: Column, axis: Axis, view: View): Lines {
  const tables = runs.map((run) => linesOf(run.series, [column], xOf(run, axis), view));
  if (tables.length === 0) return [[]];
  return uPlot.join(tables as uPlot.AlignedData[]) as Lines;
}

const NEAR = 1e-9; // the same epoch of two runs may differ by rounding

/** Returns the last value at or before `x`. It is NaN before the first step and after the last step. */
export function valueAt(run: Run, name: string, axis: Axis, x: number): number {
  const values = run.series.column(name);
  const xs = xOf(run, axis);
  const beyond = firstAtLeast(xs, x + NEAR * Math.max(1, Math.abs(x)));
  if (!values || (beyond === xs.length && x > (xs.at(-1) ?? NaN) * (1 + NEAR))) return NaN;
  return values[indexOfLast(values.subarray(0, beyond))] ?? NaN;
}

/** Returns a row for each step that any run has: the step, then the value of each run. NaN means no value. */
export function runRows(runs: readonly Run[], name: string): number[][] {
  const rows = new Map<number, number[]>();
  runs.forEach(({ series }, at) => {
    const values = series.column(name);
    for (let index = 0; index < series.length; index += 1) {
      const value = values?.[index] ?? NaN;
      if (Number.isNaN(value)) continue;
      const step = series.steps[index] as number;
      const row = rows.get(step) ?? Array<number>(runs.length).fill(NaN);
      row[at] = value;
      rows.set(step, row);
    }
  });
  return [...rows].sort(([a], [b]) => a - b).map(([step, values]) => [step, ...values]);
}
