import { useMutation } from "@tanstack/react-query";
import { useState } from "react";

import { type Axis, type Steps, stepsWithin } from "@/lib/axes";

export type Zoom = [number, number] | null;

/**
 * The part of the x axis that is drawn, null for all; on another axis it means nothing. `zoomTo` also reads what
 * thinned runs lack there, and `failure` is why it could not.
 */
export function useZoom(axis: Axis, runs: readonly Steps[]) {
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
