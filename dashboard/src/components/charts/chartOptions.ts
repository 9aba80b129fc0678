/** The options with which uPlot draws our charts. */

import type uPlot from "uplot";

import { ticksOf } from "@/lib/charts/axes";
import { lineStyleOf } from "@/lib/charts/lineStyles";

import type { Drawn, Plot } from "./plot";
import type { Zoom } from "./useZoom";

const RAW_ALPHA = "40"; // of the raw values behind their smoothed line
const POINT_SPACE = 12; // pixels

/** Returns the present value of a custom property that holds a colour. A canvas cannot read custom properties. */
export function resolveColour(element: HTMLElement, name: string): string {
  const before = element.style.color;
  element.style.color = `var(${name})`;
  const resolved = getComputedStyle(element).color;
  element.style.color = before;
  return resolved;
}

interface Looks {
  colour: (name: string) => string;
  font: string;
  onHover?: (index: number | null) => void;
  onZoom?: (zoom: Zoom) => void;
}

export function chartOptions(plot: Plot, looks: Looks): Omit<uPlot.Options, "width" | "height"> {
  const { drawn, axis, ticks, log, smoothing } = plot;
  const { colour, font, onHover, onZoom } = looks;
  const both = {
    stroke: colour("--muted"),
    font,
    grid: { stroke: colour("--line"), width: 1 },
    ticks: { show: false },
  };
  return {
    legend: { show: false },
    padding: [8, 24, 0, 0],
    scales: { x: { time: false }, y: { distr: log ? 3 : 1 } },
    axes: [
      { ...both, size: 28, ...ticksOf(axis) },
      { ...both, size: 62, values: (_, at) => ticks(at) },
    ],
    cursor: {
      y: false,
      drag: { x: true, y: false, setScale: false },
      bind: { dblclick: () => () => (onZoom?.(null), null) },
    },
    series: [{}, ...drawn.flatMap((one) => lines(one, smoothing > 0, colour))],
    hooks: {
      setCursor: [(chart) => onHover?.(chart.cursor.idx ?? null)],
      setSelect: [(chart) => select(chart, onZoom)],
    },
  };
}

/**
 * Returns the lines of a column. A noisy column has raw and smoothed values; any other has points, joined by a line. A
 * level has no points.
 */
function lines({ noisy, levelOf, styleIndex }: Drawn, smoothed: boolean, colour: Looks["colour"]): uPlot.Series[] {
  const style = lineStyleOf(styleIndex);
  const stroke = colour(style.colour);
  const dash = [...style.dash];
  const few = levelOf === undefined && fewValues;
  if (!noisy) return [{ stroke, dash, width: 1.5, spanGaps: true, points: { show: few, size: 5, fill: stroke } }];
  const points = { show: isAlone, size: 5, fill: stroke };
  const raw = smoothed ? { width: 1, stroke: withAlpha(stroke, RAW_ALPHA), points } : { width: 1.5, stroke, dash, points };
  return [raw, { stroke, dash, width: 1.75, points }];
}

/** Returns whether a line has few enough values to draw points. More points would merge into a band. */
function fewValues(chart: uPlot, line: number): boolean {
  const values = chart.data[line] ?? [];
  const most = chart.width / POINT_SPACE;
  let found = 0;
  for (const value of values) if (value != null && (found += 1) > most) return false;
  return true;
}

/** Returns whether a line has a single value, which no line can show. */
function isAlone(chart: uPlot, line: number): boolean {
  return Array.from(chart.data[line] ?? []).filter((value) => value != null).length === 1;
}

/** Returns a colour such as `rgb(1, 2, 3)` with an alpha of two hexadecimal digits. */
function withAlpha(colour: string, alpha: string): string {
  const parts = colour.match(/\d+/g) ?? [];
  return `#${parts.slice(0, 3).map((part) => Number(part).toString(16).padStart(2, "0")).join("")}${alpha}`;
}

function select(chart: uPlot, onZoom: Looks["onZoom"]): void {
  const { left, width } = chart.select;
  if (width < 4) return;
  onZoom?.([chart.posToVal(left, "x"), chart.posToVal(left + width, "x")]);
  chart.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
}
