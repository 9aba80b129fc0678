import "uplot/dist/uPlot.min.css";

import { useEffect, useEffectEvent, useRef, useSyncExternalStore } from "react";
import uPlot from "uplot";

import { isDark, onThemeChange } from "@/lib/browser/theme";
import type { Lines } from "@/lib/charts/chartData";

import { chartOptions, resolveColour } from "./chartOptions";
import { type Drawn, drawOn, type Plot } from "./plot";
import type { Zoom } from "./useZoom";

interface ChartProps {
  plot: Plot;
  /** Changes with each change of the values. */
  version: number | string;
  onZoom: (zoom: Zoom) => void;
  /** Gets the values under the pointer: x, then the raw value of each column; null when the pointer has left. */
  onHover: (values: (number | null)[] | null) => void;
}

/** The curves of one chart. New values are drawn on the canvas without rendering the component again. */
export function Chart({ plot, version, onZoom, onHover }: ChartProps) {
  const { drawn, axis, log, smoothing, zoom } = plot;
  const box = useRef<HTMLDivElement>(null);
  const chart = useRef<uPlot>(null);
  const lines = useRef<Lines>([[]]);
  const dark = useSyncExternalStore(onThemeChange, isDark);
  const shape = drawn.map(({ name, styleIndex }) => `${name} ${styleIndex}`).join();
  const smoothed = smoothing > 0;

  const hover = useEffectEvent((index: number | null) => {
    const [x, ...rest] = lines.current;
    if (index === null) return onHover(null);
    const raw = rawLines(drawn).map((line) => rest[line]?.[index] ?? null);
    onHover([x[index] ?? null, ...raw]);
  });
  const zoomTo = useEffectEvent((to: Zoom) => onZoom(to));
  const make = useEffectEvent((element: HTMLDivElement) => {
    const { fontFamily } = getComputedStyle(element);
    const colour = (name: string) => resolveColour(element, name);
    const options = chartOptions(plot, { colour, font: `11px ${fontFamily}`, onHover: hover, onZoom: zoomTo });
    const { width, height } = element.getBoundingClientRect();
    return new uPlot({ ...options, width, height }, lines.current as uPlot.AlignedData, element);
  });
  const draw = useEffectEvent(() => {
    if (chart.current) lines.current = drawOn(chart.current, plot);
  });

  useEffect(() => {
    const element = box.current;
    if (!element) return undefined;
    const made = make(element);
    chart.current = made;
    draw();
    const observer = new ResizeObserver(() => {
      const { width, height } = element.getBoundingClientRect();
      if (width !== made.width || height !== made.height) made.setSize({ width, height });
    });
    observer.observe(element);
    return () => {
      observer.disconnect();
      made.destroy();
      chart.current = null;
    };
  }, [shape, axis, log, dark, smoothed]);

  useEffect(() => draw(), [version, smoothing, zoom]);

  return <div ref={box} className="h-full w-full touch-pan-y" />;
}

/** Returns the numbers of the lines that hold raw values. A noisy column has a second line with its smoothed values. */
function rawLines(drawn: readonly Drawn[]): number[] {
  let next = 0;
  return drawn.map(({ noisy }) => {
    const line = next;
    next += noisy ? 2 : 1;
    return line;
  });
}
