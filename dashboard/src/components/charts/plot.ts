import type uPlot from "uplot";

import type { Axis } from "@/lib/charts/axes";
import { extent, type Lines, type View } from "@/lib/charts/chartData";
import type { ChartSpec } from "@/lib/charts/chartSpecs";

import type { Zoom } from "./useZoom";

/** A column of a chart: one line, or two lines with raw and smoothed values. */
export interface Drawn {
  name: string;
  label: string;
  /** Whether the values jump from step to step, so that a smoothed line helps. Other columns are drawn as points. */
  noisy: boolean;
  /** Set for a column that has the same value at every step, which is drawn as a line without points. */
  levelOf?: string;
  /** It decides the colour and the dashes of the line. */
  styleIndex: number;
}

/** The content of a chart, on the screen or in a picture. */
export interface Plot {
  drawn: readonly Drawn[];
  /** Returns the points of the lines. The smoothed values of a noisy column come after its raw values. */
  linesOf: (view: View) => Lines;
  axis: Axis;
  format: ChartSpec["format"];
  ticks: ChartSpec["ticks"];
  log: boolean;
  smoothing: number;
  zoom: Zoom;
}

const FEWEST_BUCKETS = 100;

/** Draws the plot with its present values and returns the points. */
export function drawOn(chart: uPlot, { linesOf, log, smoothing, zoom }: Plot): Lines {
  const buckets = Math.max(FEWEST_BUCKETS, Math.round(chart.width / 2));
  const lines = linesOf({ zoom, smoothing, log, buckets });
  const [min, max] = zoom ?? extent(lines[0]);
  chart.batch(() => {
    chart.setData(lines as uPlot.AlignedData, false);
    chart.setScale("x", { min, max });
  });
  return lines;
}
