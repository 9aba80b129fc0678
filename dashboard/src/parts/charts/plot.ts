import type uPlot from "uplot";

import type { Axis } from "@/lib/charts/axes";
import { extent, type Lines, type View } from "@/lib/charts/chartData";
import type { ChartSpec } from "@/lib/charts/chartSpecs";

import type { Zoom } from "./useZoom";

/** A line of a chart, or two: raw values, and the smoothed ones over them. */
export interface Drawn {
  name: string;
  label: string;
  /** A value for every step, which may be smoothed; else some, drawn as points. */
  dense: boolean;
  /** What its look follows from. */
  place: number;
}

/** What a chart shows, on the screen or as a picture. */
export interface Plot {
  drawn: readonly Drawn[];
  /** The points of the lines; a dense one has its smoothed values after it. */
  linesOf: (view: View) => Lines;
  axis: Axis;
  format: ChartSpec["format"];
  log: boolean;
  smoothing: number;
  zoom: Zoom;
}

const FEWEST_BUCKETS = 100;

/** Draws it, as it is now. Returns the points. */
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
