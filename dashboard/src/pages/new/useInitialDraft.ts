import { useQuery } from "@tanstack/react-query";
import { useMemo } from "react";

import { choiceQuery } from "@/api/jobs/choice";
import { jobQuery } from "@/api/jobs/jobs";
import { baseModelsQuery, methodsQuery, schemasQuery, trackersQuery } from "@/api/jobs/offers";
import type { NewJobSearch } from "@/lib/addresses/newJobSearch";
import { type Draft, EMPTY_DRAFT, type Offer } from "@/lib/newJob/draft";
import { type Choice, draftOfJob, type FilledDraft } from "@/lib/newJob/draftOfJob";
import type { Job } from "@/types/api";

function draftOf(offer: Offer, job: Job | undefined, choice: Choice | undefined, won: boolean): FilledDraft | null {
  if (!job || !choice) return null;
  return draftOfJob(job, offer, won ? { ...choice, tried: null } : choice);
}

/** Returns an empty draft. If the service has only one base model, it is chosen. */
function emptyDraft({ models }: Offer): Draft {
  return { ...EMPTY_DRAFT, model: models.length === 1 ? (models[0] ?? "") : "" };
}

/** Reads what the service offers, and fills the first draft with the job or the files that the address names. */
export function useInitialDraft(search: NewJobSearch) {
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

  const filled =
    offer && (from ? draftOf(offer, job.data, choice.data, won) : { draft: emptyDraft(offer), leftOut: [] });
  const all = [models, methods, schemas, trackers, job, choice];
  const failure = all.find((one) => one.error ?? one.failureReason);
  return {
    offer,
    filled: filled && { ...filled, draft: { ...filled.draft, ...named } },
    isSweep: choice.data?.kind === "sweep",
    failure: failure && (failure.error ?? failure.failureReason),
  };
}
