import { getRouteApi } from "@tanstack/react-router";
import { useMemo } from "react";

import type { LiveJob } from "@/api/live/liveJob";
import { type CurveSearch, USUAL_SMOOTHING } from "@/lib/addresses/curveSearch";
import { useVersion } from "@/lib/browser/changing";
import { axesOf, axisOf, type Steps } from "@/lib/charts/axes";
import { jobCharts } from "@/lib/charts/chartSpecs";
import { hasEnded, stepsPerEpoch } from "@/lib/facts/jobFacts";
import { CurveControls } from "@/components/charts/CurveControls";
import { ThinnedNote } from "@/components/charts/ThinnedNote";
import { useZoom } from "@/components/charts/useZoom";
import { ZoomControls } from "@/components/charts/ZoomControls";
import { Empty } from "@/components/page/Empty";
import { Failure } from "@/components/page/Notice";
import type { Job } from "@/types/api";

import { ChartCard } from "./ChartCard";

const route = getRouteApi("/jobs/$jobId");

/** The charts of a job's metrics, which grow while it trains. */
export function JobCurves({ job, live }: { job: Job; live: LiveJob }) {
  const version = useVersion(live);
  const { series, failure } = live;
  const search = route.useSearch();
  const { x, log = false, smooth = USUAL_SMOOTHING } = search;
  const navigate = route.useNavigate();
  const change = (changed: CurveSearch) =>
    void navigate({ search: { ...search, ...changed }, replace: true, resetScroll: false });
  const names = series.names.join();
  const specs = useMemo(() => jobCharts(names ? names.split(",") : []), [names]);
  const steps: Steps = { series, stepsPerEpoch: stepsPerEpoch(job) };
  const axes = axesOf([steps]);
  const axis = axisOf(x, axes);
  const zooming = useZoom(axis, [steps]);
  return (
    <section aria-label="Curves" className="grid gap-3">
      <CurveControls title="Curves" search={search} axes={axes} onChange={change} />
      {series.length > 0 && <ZoomControls {...{ zooming, axis }} trainings={[steps]} />}
      <ThinnedNote series={[series]} />
      {failure !== null && <Failure error={failure} />}
      {series.length === 0 && <Empty>The curves begin with the first step.</Empty>}
      {series.length === 1 && hasEnded(job) && (
        <p className="text-muted">This job had a single step, so each chart has one point and no curve.</p>
      )}
      <div className="grid gap-3 lg:grid-cols-3">
        {specs.map((spec, at) => (
          <ChartCard
            key={spec.metric}
            spec={spec}
            isWide={at === 0}
            steps={steps}
            version={version}
            jobId={job.id}
            log={log}
            smoothing={smooth / 100}
            axis={axis}
            zooming={zooming}
          />
        ))}
      </div>
    </section>
  );
}
