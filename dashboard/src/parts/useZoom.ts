import { useState } from "react";

import type { Axis } from "@/lib/axes";

export type Zoom = [number, number] | null;

/** The part of the x axis that is drawn; null for all. On another axis it means nothing. */
export function useZoom(axis: Axis): [Zoom, (zoom: Zoom) => void] {
  const [{ of, zoom }, set] = useState<{ of: Axis; zoom: Zoom }>({ of: axis, zoom: null });
  return [of === axis ? zoom : null, (to) => set({ of: axis, zoom: to })];
}
