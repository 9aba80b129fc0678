import { type CurveSearch, parseCurveSearch, USUAL_SMOOTHING } from "@/lib/addresses/curveSearch";
import { AXES, type Axis, axisOf } from "@/lib/charts/axes";

interface CurveControlsProps {
  title: string;
  search: CurveSearch;
  /** The axes that can be chosen. */
  axes: readonly Axis[];
  onChange: (changed: CurveSearch) => void;
}

/** Controls for the smoothing and the axes of all charts below. */
export function CurveControls({ title, search, axes, onChange: change }: CurveControlsProps) {
  const smooth = search.smooth ?? USUAL_SMOOTHING;
  return (
    <div className="flex flex-wrap items-center gap-x-5 gap-y-2">
      <h2>{title}</h2>
      <label className="flex items-center gap-2">
        Smoothing
        <input
          type="range"
          min={0}
          max={99}
          value={smooth}
          className="w-28 accent-accent"
          onChange={(event) => change({ smooth: event.target.valueAsNumber })}
        />
        <output className="w-8">{smooth / 100}</output>
      </label>
      <label className="flex items-center gap-2">
        x axis
        <select
          className="field"
          value={axisOf(search.x, axes)}
          onChange={(event) => change({ x: parseCurveSearch({ x: event.target.value }).x })}
        >
          {AXES.map((axis) => (
            <option key={axis} disabled={!axes.includes(axis)}>
              {axis}
            </option>
          ))}
        </select>
      </label>
      <label className="flex items-center gap-2">
        <input
          type="checkbox"
          checked={search.log ?? false}
          onChange={(event) => change({ log: event.target.checked || undefined })}
        />
        Logarithmic
      </label>
    </div>
  );
}
