import { useQuery } from "@tanstack/react-query";
import { useMemo } from "react";

import { jobQuery } from "@/api/jobs";
import { baseModelsQuery, methodsQuery, schemasQuery } from "@/api/offers";
import { type JobSearchKind, searchKindQuery } from "@/api/search";
import type { Job } from "@/api/types";
import { type Draft, EMPTY_DRAFT, type Offer } from "@/lib/draft";
import { draftOfJob, type FilledDraft } from "@/lib/jobDraft";
import type { NewJobSearch } from "@/lib/newJobSearch";

function copied(offer: Offer, job: Job | undefined, kind: JobSearchKind | undefined): FilledDraft | null {
  return job && kind ? draftOfJob(job, offer, kind === "auto_rank") : null;
}

/** Where there is one base model alone, it is chosen. */
function begun({ models }: Offer): Draft {
  return { ...EMPTY_DRAFT, model: models.length === 1 ? (models[0] ?? "") : "" };
}

/** What the form begins with: what the service offers, and the job or the files that the address names. */
export function useBeginning(search: NewJobSearch) {
  const { from = "", ...named } = search;
  const models = useQuery(baseModelsQuery);
  const methods = useQuery(methodsQuery);
  const schemas = useQuery(schemasQuery);
  const job = useQuery({ ...jobQuery(from), enabled: from !== "", refetchInterval: false });
  const kind = useQuery({ ...searchKindQuery(from), enabled: from !== "" });

  const offer = useMemo((): Offer | null => {
    if (!models.data || !methods.data || !schemas.data) return null;
    return { models: models.data, methods: methods.data, schemas: schemas.data };
  }, [models.data, methods.data, schemas.data]);

  const filled = offer && (from ? copied(offer, job.data, kind.data) : { draft: begun(offer), left: [] });
  const all = [models, methods, schemas, job, kind];
  const failure = all.find((one) => one.error ?? one.failureReason);
  return {
    offer,
    filled: filled && { ...filled, draft: { ...filled.draft, ...named } },
    isSweep: kind.data === "sweep",
    failure: failure && (failure.error ?? failure.failureReason),
  };
}
