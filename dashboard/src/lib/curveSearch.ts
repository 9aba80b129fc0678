/** How a job's curves are drawn, as it stands in the address. */

export const AXES = ["step", "epoch"] as const;
export type Axis = (typeof AXES)[number];

export interface CurveSearch {
  x?: "epoch";
  log?: true;
  /** Weight of the past in per cent, 0 to 99; without it the usual one. */
  smooth?: number;
}

export const USUAL_SMOOTHING = 60;

export function parseCurveSearch(raw: Record<string, unknown>): CurveSearch {
  const smooth = Math.round(Number(raw.smooth ?? USUAL_SMOOTHING));
  return {
    ...(raw.x === "epoch" && { x: "epoch" as const }),
    ...((raw.log === true || raw.log === "true") && { log: true as const }),
    ...(smooth >= 0 && smooth <= 99 && smooth !== USUAL_SMOOTHING && { smooth }),
  };
}
