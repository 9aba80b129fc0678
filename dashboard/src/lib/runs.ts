/** Runs side by side: curves of several jobs, or of several candidates, over each other. */

import uPlot from "uplot";

import { type Lines, linesOf, type View } from "./chartData";
import { type ChartSpec, chartSpecs, type Column } from "./charts";
import type { Axis } from "./curveSearch";
import type { Series } from "./series";

export interface Run {
  id: string;
  name: string;
  /** What the look of its lines follows from. */
  place: number;
  series: Series;
  /** Null where epochs are not known. */
  stepsPerEpoch: number | null;
}

/** One column of the metrics, to be drawn for every run. */
export interface RunChart {
  column: Column;
  title: string;
  best?: ChartSpec["best"];
}

export function runCharts(runs: readonly Run[]): RunChart[] {
  const names = new Set(runs.flatMap(({ series }) => series.names));
  return chartSpecs([...names]).flatMap(({ title, columns, best }) =>
    columns.map((column) => {
      const whole = columns.length === 1 && column.label === "training" ? title : `${title}, ${column.label}`;
      return { column, title: whole, ...(best && { best }) };
    }),
  );
}

export function stepsPerX(run: Run, axis: Axis): number {
  return axis === "epoch" ? (run.stepsPerEpoch ?? 1) : 1;
}

/** The lines of all runs on one x. Where a run has no point at another's x, its line goes on. */
export function overlaid(runs: readonly Run[], column: Column, axis: Axis, view: View): Lines {
  const spec = { measure: "", title: "", columns: [column] };
  const tables = runs.map((run) => linesOf(run.series, spec, { ...view, stepsPerX: stepsPerX(run, axis) }));
  if (tables.length === 0) return [[]];
  return uPlot.join(tables as uPlot.AlignedData[]) as Lines;
}

/** The last value at or before `x`; NaN before the first and after the last step. */
export function valueAt(run: Run, name: string, axis: Axis, x: number): number {
  const { series } = run;
  const values = series.column(name);
  const step = x * stepsPerX(run, axis) + 1e-9;
  if (!values || step > series.lastStep + 1e-6) return NaN;
  for (let at = series.length - 1; at >= 0; at -= 1) {
    const value = values[at] as number;
    if ((series.steps[at] as number) <= step && !Number.isNaN(value)) return value;
  }
  return NaN;
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
