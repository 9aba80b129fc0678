import { useMutation } from "@tanstack/react-query";
import { useState } from "react";

import { type Axis, type Steps, stepsWithin } from "@/lib/charts/axes";

export type Zoom = [number, number] | null;

/** A part of the x axis, and how another one is shown. */
export interface Zooming {
  /** What is drawn; null for all. */
  zoom: Zoom;
  /** Also reads what thinned runs lack there. */
  zoomTo: (zoom: Zoom) => void;
  /** Why it could not be read. */
  failure: Error | null;
}

/** Of charts that are zoomed together. On another axis the part means nothing. */
export function useZoom(axis: Axis, runs: readonly Steps[]): Zooming {
  const [{ of, zoom }, set] = useState<{ of: Axis; zoom: Zoom }>({ of: axis, zoom: null });
  const { mutate, error } = useMutation({
    mutationFn: (part: [number, number]) =>
      Promise.all(runs.map((run) => run.series.leftOut?.readPart(...stepsWithin(run, axis, part)))),
  });
  const zoomTo = (to: Zoom) => {
    set({ of: axis, zoom: to });
    if (to) mutate(to);
  };
  return { zoom: of === axis ? zoom : null, zoomTo, failure: error };
}
