import { useQueries, useQuery } from "@tanstack/react-query";
import { getRouteApi } from "@tanstack/react-router";
import { useState } from "react";

import { candidatesQuery, isTraining } from "@/api/jobs/candidates";
import { metricsQuery } from "@/api/live/metrics";
import { USUAL_SMOOTHING } from "@/lib/addresses/curveSearch";
import { axesOf, axisOf } from "@/lib/charts/axes";
import type { Training } from "@/lib/charts/trainings";
import { NO_SERIES } from "@/lib/charts/series";
import { candidateName } from "@/lib/facts/candidateFacts";
import { hasEnded, stepsPerEpoch } from "@/lib/facts/jobFacts";
import { Section } from "@/components/page/Section";
import { TrainingCurves } from "@/components/trainings/TrainingCurves";
import type { Candidates as JobCandidates, Job } from "@/types/api";

import { CandidateRanking } from "./CandidateRanking";

const route = getRouteApi("/jobs/$jobId");

/** The candidates of a job that chooses among several adapters: their ranking and their curves. */
export function Candidates({ job }: { job: Job }) {
  const { data } = useQuery(candidatesQuery(job));
  return data?.data.length ? <RankingAndCurves job={job} candidates={data} /> : null;
}

function RankingAndCurves({ job, candidates }: { job: Job; candidates: JobCandidates }) {
  const { x, log = false, smooth = USUAL_SMOOTHING } = route.useSearch();
  const [shown, setShown] = useState<string[] | null>(null);
  const ranked = candidates.data;
  const metrics = useQueries({
    queries: ranked.map((one) => metricsQuery(job.id, one.number, hasEnded(job) || !isTraining(one))),
  });
  const epoch = stepsPerEpoch(job);
  const trainings: Training[] = ranked.map((one, at) => ({
    id: `candidate-${one.number}`,
    name: candidateName(one),
    styleIndex: one.number,
    series: metrics[at]?.data?.series ?? NO_SERIES,
    stepsPerEpoch: epoch,
  }));
  return (
    <Section title="Candidates">
      <CandidateRanking candidates={candidates} hasEnded={hasEnded(job)} />
      <div className="grid gap-3 border-t border-line p-3">
        <TrainingCurves
          trainings={trainings}
          version={trainings.map(({ id, series }) => `${id} ${series.version}`).join()}
          shown={shown}
          onShow={setShown}
          fileName={`${job.id}-candidates`}
          log={log}
          smoothing={smooth / 100}
          axis={axisOf(x, axesOf(trainings))}
        />
      </div>
    </Section>
  );
}
