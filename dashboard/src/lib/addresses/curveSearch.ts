/** The part of an address that says how curves are drawn. */

import { AXES, type Axis } from "@/lib/charts/axes";

export interface CurveSearch {
  /** The x axis; without it, steps. */
  x?: Exclude<Axis, "step">;
  log?: true;
  /** The weight of the past in per cent, 0 to 99; without it, the usual weight. */
  smooth?: number;
}

export const USUAL_SMOOTHING = 60;

export function parseCurveSearch(raw: Record<string, unknown>): CurveSearch {
  const smooth = Math.round(Number(raw.smooth ?? USUAL_SMOOTHING));
  const x = AXES.find((axis) => axis === raw.x);
  return {
    ...(x && x !== "step" && { x }),
    ...((raw.log === true || raw.log === "true") && { log: true as const }),
    ...(smooth >= 0 && smooth <= 99 && smooth !== USUAL_SMOOTHING && { smooth }),
  };
}
