import { indicesToDraw } from "./thinning";

/** Returns an SVG path through the values, from the left edge to the right, the smallest at the bottom. It skips NaN. */
export function sparkPath(values: Float64Array, { width, height }: { width: number; height: number }): string {
  const indices = [...indicesToDraw([values], 0, values.length, width / 2)].filter((at) => !Number.isNaN(values[at]));
  const drawn = indices.map((at) => values[at] as number);
  const [low, high] = [Math.min(...drawn), Math.max(...drawn)];
  const last = Math.max(1, values.length - 1);
  const points = indices.map((at, number) => {
    const up = high > low ? ((drawn[number] as number) - low) / (high - low) : 0.5;
    return `${((at / last) * width).toFixed(1)} ${(1 + (1 - up) * (height - 2)).toFixed(1)}`;
  });
  return points.length === 1 ? `M0 ${height / 2}h${width}` : `M${points.join("L")}`;
}
