import { useQueries, useQuery } from "@tanstack/react-query";
import { getRouteApi } from "@tanstack/react-router";
import { useState } from "react";

import { candidatesQuery, trainsOn } from "@/api/jobs/candidates";
import { metricsQuery } from "@/api/live/metrics";
import { type Candidates as Found, hasEnded, type Job } from "@/api/types";
import { axesOf, axisOf } from "@/lib/charts/axes";
import { candidateName } from "@/lib/facts/candidateFacts";
import { USUAL_SMOOTHING } from "@/lib/addresses/curveSearch";
import { stepsPerEpoch } from "@/lib/facts/jobFacts";
import type { Run } from "@/lib/charts/runs";
import { Series } from "@/lib/charts/series";
import { RunCurves } from "@/parts/runs/RunCurves";
import { Section } from "@/parts/page/Section";

import { Ranking } from "./CandidateRanking";

const route = getRouteApi("/jobs/$jobId");
const NO_SERIES = new Series();

/** Of a job that chooses among several adapters: which there are, how each fares, and what was saved. */
export function Candidates({ job }: { job: Job }) {
  const { data } = useQuery(candidatesQuery(job));
  return data?.data.length ? <Search job={job} found={data} /> : null;
}

function Search({ job, found }: { job: Job; found: Found }) {
  const { x, log = false, smooth = USUAL_SMOOTHING } = route.useSearch();
  const [shown, setShown] = useState<string[] | null>(null);
  const ranked = found.data;
  const metrics = useQueries({
    queries: ranked.map((one) => metricsQuery(job.id, one.number, hasEnded(job) || !trainsOn(one))),
  });
  const epoch = stepsPerEpoch(job);
  const runs: Run[] = ranked.map((one, at) => ({
    id: `candidate-${one.number}`,
    name: candidateName(one),
    place: one.number,
    series: metrics[at]?.data?.series ?? NO_SERIES,
    stepsPerEpoch: epoch,
  }));
  return (
    <Section title="Candidates">
      <Ranking found={found} ended={hasEnded(job)} />
      <div className="grid gap-3 border-t border-line p-3">
        <RunCurves
          runs={runs}
          version={runs.map(({ id, series }) => `${id} ${series.version}`).join()}
          shown={shown}
          onShow={setShown}
          fileName={`${job.id}-candidates`}
          log={log}
          smoothing={smooth / 100}
          axis={axisOf(x, axesOf(runs))}
        />
      </div>
    </Section>
  );
}
