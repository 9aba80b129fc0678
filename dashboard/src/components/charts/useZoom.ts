import { useMutation } from "@tanstack/react-query";
import { useState } from "react";

import { type Axis, type Steps, stepsWithin } from "@/lib/charts/axes";

export type Zoom = [number, number] | null;

/** The part of the x axis that charts show. */
export interface Zooming {
  /** The part that is drawn; null for the whole axis. */
  zoom: Zoom;
  /** Shows another part, and reads the steps that thinned trainings lack there. */
  zoomTo: (zoom: Zoom) => void;
  /** Why the steps could not be read. */
  failure: Error | null;
}

/** Returns the zoom of charts that are zoomed together. A change of the axis ends the zoom. */
export function useZoom(axis: Axis, trainings: readonly Steps[]): Zooming {
  const [{ of, zoom }, set] = useState<{ of: Axis; zoom: Zoom }>({ of: axis, zoom: null });
  const { mutate, error } = useMutation({
    mutationFn: (part: [number, number]) =>
      Promise.all(trainings.map((training) => training.series.leftOut?.readPart(...stepsWithin(training, axis, part)))),
  });
  const zoomTo = (to: Zoom) => {
    set({ of: axis, zoom: to });
    if (to) mutate(to);
  };
  return { zoom: of === axis ? zoom : null, zoomTo, failure: error };
}
