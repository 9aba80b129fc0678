import "uplot/dist/uPlot.min.css";

import { useEffect, useEffectEvent, useRef, useSyncExternalStore } from "react";
import uPlot from "uplot";

import { type Lines, linesOf } from "@/lib/chartData";
import type { ChartSpec } from "@/lib/charts";
import type { Series } from "@/lib/series";
import { isDark, onThemeChange } from "@/lib/theme";

import { chartOptions, resolveColour } from "./chartOptions";

const FEWEST_BUCKETS = 100;

interface ChartProps {
  series: Series;
  /** Of the series: another one after each change. */
  version: number;
  spec: ChartSpec;
  log: boolean;
  smoothing: number;
  stepsPerX: number;
  zoom: [number, number] | null;
  onZoom: (zoom: [number, number] | null) => void;
  /** The values under the pointer: x first, then each column's raw one; null when it has left. */
  onHover: (values: (number | null)[] | null) => void;
}

/** The curves of one measure. New values go into the canvas; React draws nothing again for them. */
export function Chart(props: ChartProps) {
  const { spec, log, smoothing, zoom, stepsPerX, version } = props;
  const box = useRef<HTMLDivElement>(null);
  const chart = useRef<uPlot>(null);
  const lines = useRef<Lines>([[]]);
  const dark = useSyncExternalStore(onThemeChange, isDark);
  const shape = spec.columns.map(({ name }) => name).join();
  const smoothed = smoothing > 0;

  const hover = useEffectEvent((place: number | null) => {
    const [x, ...rest] = lines.current;
    if (place === null) return props.onHover(null);
    const raw = rawLines(spec).map((line) => rest[line]?.[place] ?? null);
    props.onHover([x[place] ?? null, ...raw]);
  });
  const zoomTo = useEffectEvent((to: [number, number] | null) => props.onZoom(to));
  const make = useEffectEvent((element: HTMLDivElement) => {
    const { fontFamily } = getComputedStyle(element);
    const colour = (name: string) => resolveColour(element, name);
    const looks = { columns: spec.columns, log, smoothed, colour, font: `11px ${fontFamily}`, onHover: hover, onZoom: zoomTo };
    const { width, height } = element.getBoundingClientRect();
    return new uPlot({ ...chartOptions(looks), width, height }, lines.current as uPlot.AlignedData, element);
  });
  const draw = useEffectEvent(() => {
    const made = chart.current;
    if (!made) return;
    const buckets = Math.max(FEWEST_BUCKETS, Math.round(made.width / 2));
    lines.current = linesOf(props.series, spec, { zoom, smoothing, stepsPerX, log, buckets });
    const x = lines.current[0];
    const [min, max] = zoom ?? [x[0] ?? 0, x.at(-1) ?? 1];
    made.batch(() => {
      made.setData(lines.current as uPlot.AlignedData, false);
      made.setScale("x", { min, max });
    });
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
  }, [shape, log, dark, smoothed]);

  useEffect(() => draw(), [version, smoothing, zoom, stepsPerX]);

  return <div ref={box} className="h-full w-full touch-pan-y" />;
}

/** The lines that hold raw values: a dense column has a smoothed one after it. */
function rawLines(spec: ChartSpec): number[] {
  let next = 0;
  return spec.columns.map(({ dense }) => {
    const line = next;
    next += dense ? 2 : 1;
    return line;
  });
}
