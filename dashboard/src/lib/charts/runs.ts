/** Runs side by side: curves of several jobs, or of several candidates, over each other. */

import uPlot from "uplot";

import { type Axis, firstAtLeast, type Steps, xOf } from "./axes";
import { type Lines, linesOf, type View } from "./chartData";
import { type ChartSpec, chartSpecs, type Column } from "./chartSpecs";
import { placeOfLast } from "./series";

export interface Run extends Steps {
  id: string;
  name: string;
  /** What the look of its lines follows from. */
  place: number;
}

/** One column of the metrics, to be drawn for every run. */
export interface RunChart {
  column: Column;
  title: string;
  format: ChartSpec["format"];
  best?: ChartSpec["best"];
}

export function runCharts(runs: readonly Run[]): RunChart[] {
  const names = new Set(runs.flatMap(({ series }) => series.names));
  return chartSpecs([...names]).flatMap(({ title, columns, format, best }) =>
    columns.map((column) => {
      const whole = columns.length === 1 && column.label === "training" ? title : `${title}, ${column.label}`;
      return { column, title: whole, format, ...(best && { best }) };
    }),
  );
}

/** The lines of all runs on one x. Where a run has no point at another's x, its line goes on. */
export function overlaid(runs: readonly Run[], column: Column, axis: Axis, view: View): Lines {
  const tables = runs.map((run) => linesOf(run.series, [column], xOf(run, axis), view));
  if (tables.length === 0) return [[]];
  return uPlot.join(tables as uPlot.AlignedData[]) as Lines;
}

const NEAR = 1e-9; // epochs of two runs differ by rounding where they are the same

/** The last value at or before `x`; NaN before the first and after the last step. */
export function valueAt(run: Run, name: string, axis: Axis, x: number): number {
  const values = run.series.column(name);
  const xs = xOf(run, axis);
  const beyond = firstAtLeast(xs, x + NEAR * Math.max(1, Math.abs(x)));
  if (!values || (beyond === xs.length && x > (xs.at(-1) ?? NaN) * (1 + NEAR))) return NaN;
  return values[placeOfLast(values.subarray(0, beyond))] ?? NaN;
}

/** The values of every step that any run has: the step first, then each run's; NaN for none. */
export function runRows(runs: readonly Run[], name: string): number[][] {
  const rows = new Map<number, number[]>();
  runs.forEach(({ series }, at) => {
    const values = series.column(name);
    for (let place = 0; place < series.length; place += 1) {
      const value = values?.[place] ?? NaN;
      if (Number.isNaN(value)) continue;
      const step = series.steps[place] as number;
      const row = rows.get(step) ?? Array<number>(runs.length).fill(NaN);
      row[at] = value;
      rows.set(step, row);
    }
  });
  return [...rows].sort(([a], [b]) => a - b).map(([step, values]) => [step, ...values]);
}
