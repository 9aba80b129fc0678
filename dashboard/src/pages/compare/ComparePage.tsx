import { getRouteApi } from "@tanstack/react-router";
import { useState } from "react";

import { baselineOf, type CompareSearch, jobIds, withJob, withoutJob } from "@/lib/addresses/compareSearch";
import { USUAL_SMOOTHING } from "@/lib/addresses/curveSearch";
import { axesOf, axisOf } from "@/lib/charts/axes";
import { counted } from "@/lib/text/format";
import { CurveControls } from "@/components/charts/CurveControls";
import { Empty } from "@/components/page/Empty";
import { PageTitle } from "@/components/page/PageTitle";
import { Reading } from "@/components/page/Reading";
import { TrainingCurves } from "@/components/trainings/TrainingCurves";
import type { Job } from "@/types/api";

import { AddJob } from "./AddJob";
import { ComparedAnswers } from "./ComparedAnswers";
import { Differences } from "./Differences";
import { Results } from "./Results";
import { type Compared, useCompared } from "./useCompared";

const route = getRouteApi("/compare");

/** Compares jobs. The address holds the jobs, the baseline and how curves are drawn. */
export function ComparePage() {
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const { compared, version, isRead } = useCompared(jobIds(search.jobs));
  // What is compared is shown at once, so that nothing moves while it is read, and then stays.
  const [wasRead, setWasRead] = useState(false);
  if (isRead && !wasRead && compared.length > 0) setWasRead(true);
  const change = (changed: CompareSearch) =>
    void navigate({ search: (before) => ({ ...before, ...changed }), replace: true, resetScroll: false });
  return (
    <>
      <PageTitle title="Compare">
        <p className="fact" role="status">
          {counted(compared.length, "job")}
        </p>
        <AddJob chosen={compared.map(({ id }) => id)} onAdd={(id) => change({ jobs: withJob(search.jobs, id) })} />
      </PageTitle>
      {compared.length === 0 && <Empty>Add jobs here, or select some in the list of jobs.</Empty>}
      {compared.length > 0 && (wasRead ? <Sections {...{ compared, version, search, change }} /> : <Reading />)}
    </>
  );
}

interface SectionsProps {
  compared: readonly Compared[];
  version: string;
  search: CompareSearch;
  change: (changed: CompareSearch) => void;
}

function Sections({ compared, version, search, change }: SectionsProps) {
  const known = compared.filter((one): one is Compared & { job: Job } => one.job !== undefined);
  const trainings = known.map(({ training }) => training);
  const axes = axesOf(trainings);
  return (
    <>
      <Results
        compared={compared}
        baseline={baselineOf(compared.map(({ id }) => id), search.base)}
        onBaseline={(base) => change({ base })}
        onRemove={(id) =>
          change({
            jobs: withoutJob(search.jobs, id) || undefined,
            base: search.base === id ? undefined : search.base,
          })
        }
      />
      {known.length > 0 && <ComparedAnswers compared={known} />}
      {known.length > 0 && (
        <section aria-label="Curves" className="grid gap-3">
          <CurveControls title="Curves" search={search} axes={axes} onChange={change} />
          <TrainingCurves
            trainings={trainings}
            version={version}
            shown={search.show?.split(",") ?? null}
            onShow={(shown) => change({ show: shown.join() || "none" })}
            fileName="compare"
            log={search.log ?? false}
            smoothing={(search.smooth ?? USUAL_SMOOTHING) / 100}
            axis={axisOf(search.x, axes)}
          />
        </section>
      )}
      {known.length > 0 && <Differences compared={known} />}
    </>
  );
}
