import { type Axis, type Steps, xInWords } from "@/lib/charts/axes";
import { type Move, moved, wholeOf } from "@/lib/charts/zoom";
import { Icon, type IconName } from "@/components/basics/Icon";
import { Failure } from "@/components/page/Notice";

import type { Zooming } from "./useZoom";

const MOVES: readonly [Move, string, IconName][] = [
  ["in", "Zoom in", "plus"],
  ["out", "Zoom out", "minus"],
  ["back", "Earlier part", "left"],
  ["on", "Later part", "right"],
];

interface ZoomControlsProps {
  zooming: Zooming;
  axis: Axis;
  trainings: readonly Steps[];
}

/**
 * Buttons that change what part all charts show, as dragging over a chart does. A button without effect
 * is marked as disabled for screen readers only, so that it keeps the focus.
 */
export function ZoomControls({ zooming: { zoom, zoomTo, failure }, axis, trainings }: ZoomControlsProps) {
  const whole = wholeOf(trainings, axis);
  return (
    <>
      <div role="group" aria-label="Part of the run" className="flex flex-wrap items-center gap-2">
        {MOVES.map(([move, label, icon]) => (
          <button
            key={move}
            type="button"
            aria-label={label}
            title={label}
            className="button size-[44px] justify-center px-0 aria-disabled:opacity-55 sm:size-8"
            aria-disabled={!whole || (zoom === null && move !== "in")}
            onClick={() => whole && zoomTo(moved(zoom, whole, axis, move))}
          >
            <Icon name={icon} />
          </button>
        ))}
        <button
          type="button"
          className="button aria-disabled:opacity-55 max-sm:min-h-[44px]"
          aria-disabled={zoom === null}
          onClick={() => zoomTo(null)}
        >
          Whole run
        </button>
        <span className="fact" role="status">
          {zoom ? `From ${xInWords(axis, zoom[0])} to ${xInWords(axis, zoom[1])}` : "The whole run. Drag over a chart to zoom in."}
        </span>
      </div>
      {failure && <Failure asked error={failure} />}
    </>
  );
}
