import { useQuery } from "@tanstack/react-query";
import { useMemo } from "react";

import { jobQuery } from "@/api/jobs/jobs";
import { baseModelsQuery, methodsQuery, schemasQuery, trackersQuery } from "@/api/jobs/offers";
import { type Choice, choiceQuery } from "@/api/jobs/choice";
import type { Job } from "@/api/types";
import { type Draft, EMPTY_DRAFT, type Offer } from "@/lib/newJob/draft";
import { draftOfJob, type FilledDraft } from "@/lib/newJob/draftOfJob";
import type { NewJobSearch } from "@/lib/addresses/newJobSearch";

function copied(offer: Offer, job: Job | undefined, choice: Choice | undefined, won: boolean): FilledDraft | null {
  if (!job || !choice) return null;
  return draftOfJob(job, offer, won ? { ...choice, tried: null } : choice);
}

/** Where there is one base model alone, it is chosen. */
function begun({ models }: Offer): Draft {
  return { ...EMPTY_DRAFT, model: models.length === 1 ? (models[0] ?? "") : "" };
}

/** What the form begins with: what the service offers, and the job or the files that the address names. */
export function useBeginning(search: NewJobSearch) {
  const { from = "", won = false, ...named } = search;
  const models = useQuery(baseModelsQuery);
  const methods = useQuery(methodsQuery);
  const schemas = useQuery(schemasQuery);
  const trackers = useQuery(trackersQuery);
  const job = useQuery({ ...jobQuery(from), enabled: from !== "", refetchInterval: false });
  const choice = useQuery({ ...choiceQuery(from), enabled: from !== "" });

  const offer = useMemo((): Offer | null => {
    if (!models.data || !methods.data || !schemas.data || !trackers.data) return null;
    return { models: models.data, methods: methods.data, schemas: schemas.data, trackers: trackers.data };
  }, [models.data, methods.data, schemas.data, trackers.data]);

  const filled = offer && (from ? copied(offer, job.data, choice.data, won) : { draft: begun(offer), left: [] });
  const all = [models, methods, schemas, trackers, job, choice];
  const failure = all.find((one) => one.error ?? one.failureReason);
  return {
    offer,
    filled: filled && { ...filled, draft: { ...filled.draft, ...named } },
    isSweep: choice.data?.kind === "sweep",
    failure: failure && (failure.error ?? failure.failureReason),
  };
}
