import { getRouteApi } from "@tanstack/react-router";
import { useMemo } from "react";

import type { LiveJob } from "@/api/liveJob";
import type { Job } from "@/api/types";
import { useLiveVersion } from "@/api/useLiveJob";
import { chartSpecs } from "@/lib/charts";
import { AXES, type CurveSearch, USUAL_SMOOTHING } from "@/lib/curveSearch";
import { Failure } from "@/parts/Notice";

import { ChartCard } from "./ChartCard";

const route = getRouteApi("/jobs/$jobId");

export function Curves({ job, live }: { job: Job; live: LiveJob }) {
  const version = useLiveVersion(live);
  const { series, failure } = live;
  const { x = "step", log = false, smooth = USUAL_SMOOTHING } = route.useSearch();
  const names = series.names.join();
  const specs = useMemo(() => chartSpecs(names ? names.split(",") : []), [names]);
  const { total_steps } = job.progress;
  const epoch = total_steps ? total_steps / job.hyperparameters.n_epochs : null;
  return (
    <section aria-label="Curves" className="grid gap-3">
      <CurveControls mayUseEpochs={epoch !== null} />
      {failure !== null && <Failure error={failure} />}
      {series.length === 0 && <p className="card p-6 text-center text-muted">The curves begin with the first step.</p>}
      <div className="grid gap-3 lg:grid-cols-3">
        {specs.map((spec) => (
          <ChartCard
            key={spec.measure}
            spec={spec}
            series={series}
            version={version}
            jobId={job.id}
            log={log}
            smoothing={smooth / 100}
            axis={epoch === null ? "step" : x}
            stepsPerX={x === "epoch" ? (epoch ?? 1) : 1}
          />
        ))}
      </div>
    </section>
  );
}

function CurveControls({ mayUseEpochs }: { mayUseEpochs: boolean }) {
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const change = (changed: CurveSearch) =>
    void navigate({ search: { ...search, ...changed }, replace: true, resetScroll: false });
  const smooth = search.smooth ?? USUAL_SMOOTHING;
  return (
    <div className="flex flex-wrap items-center gap-x-5 gap-y-2">
      <h2>Curves</h2>
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
          value={search.x ?? "step"}
          disabled={!mayUseEpochs}
          onChange={(event) => change({ x: event.target.value === "epoch" ? "epoch" : undefined })}
        >
          {AXES.map((axis) => (
            <option key={axis}>{axis}</option>
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
      <span className="fact">Drag over a chart to zoom in</span>
    </div>
  );
}
