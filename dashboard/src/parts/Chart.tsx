import "uplot/dist/uPlot.min.css";

import { useEffect, useEffectEvent, useRef, useSyncExternalStore } from "react";
import uPlot from "uplot";

import { extent, type Lines, type View } from "@/lib/chartData";
import { isDark, onThemeChange } from "@/lib/theme";

import { chartOptions, type Drawn, resolveColour } from "./chartOptions";

const FEWEST_BUCKETS = 100;

interface ChartProps {
  drawn: readonly Drawn[];
  /** The points of the lines; a dense one has its smoothed values after it. */
  linesOf: (view: View) => Lines;
  /** Of the values: another one after each change. */
  version: number | string;
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
  const { drawn, log, smoothing, zoom, stepsPerX, version } = props;
  const box = useRef<HTMLDivElement>(null);
  const chart = useRef<uPlot>(null);
  const lines = useRef<Lines>([[]]);
  const dark = useSyncExternalStore(onThemeChange, isDark);
  const shape = drawn.map(({ name, place }) => `${name} ${place}`).join();
  const smoothed = smoothing > 0;

  const hover = useEffectEvent((place: number | null) => {
    const [x, ...rest] = lines.current;
    if (place === null) return props.onHover(null);
    const raw = rawLines(drawn).map((line) => rest[line]?.[place] ?? null);
    props.onHover([x[place] ?? null, ...raw]);
  });
  const zoomTo = useEffectEvent((to: [number, number] | null) => props.onZoom(to));
  const make = useEffectEvent((element: HTMLDivElement) => {
    const { fontFamily } = getComputedStyle(element);
    const colour = (name: string) => resolveColour(element, name);
    const looks = { drawn, log, smoothed, colour, font: `11px ${fontFamily}`, onHover: hover, onZoom: zoomTo };
    const { width, height } = element.getBoundingClientRect();
    return new uPlot({ ...chartOptions(looks), width, height }, lines.current as uPlot.AlignedData, element);
  });
  const draw = useEffectEvent(() => {
    const made = chart.current;
    if (!made) return;
    const buckets = Math.max(FEWEST_BUCKETS, Math.round(made.width / 2));
    lines.current = props.linesOf({ zoom, smoothing, stepsPerX, log, buckets });
    const [min, max] = zoom ?? extent(lines.current[0]);
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

/** The lines that hold raw values: a dense one has a smoothed one after it. */
function rawLines(drawn: readonly Drawn[]): number[] {
  let next = 0;
  return drawn.map(({ dense }) => {
    const line = next;
    next += dense ? 2 : 1;
    return line;
  });
}
