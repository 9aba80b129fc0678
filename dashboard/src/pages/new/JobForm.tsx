import { useNavigate } from "@tanstack/react-router";
import { useEffect, useMemo, useRef, useState } from "react";

import { Refused } from "@/api/failures";
import { useCreateJob } from "@/api/jobs/createJob";
import { useMayWrite } from "@/api/project/session";
import { newIdempotencyKey } from "@/lib/browser/idempotencyKey";
import { type Draft, fieldOf, fieldPaths, type Offer, problemsAtFields, requestOf } from "@/lib/newJob/draft";
import { forgetDraft, readDraft, type StoredDraft, storeDraft } from "@/lib/newJob/draftStore";

import { FormContext } from "./fields/formContext";
import { Problems } from "./Problems";
import { DataStep } from "./steps/DataStep";
import { MethodStep } from "./steps/MethodStep";
import { ModelStep } from "./steps/ModelStep";
import { Recipes } from "./steps/Recipes";
import { ReviewStep } from "./steps/ReviewStep";

interface JobFormProps {
  /** The name under which this tab stores the draft. */
  name: string;
  offer: Offer;
  initial: Draft;
}

/** The form of a new job. Each change is stored in the tab. */
export function JobForm({ name, offer, initial }: JobFormProps) {
  const navigate = useNavigate();
  const mayWrite = useMayWrite();
  const [stored, setStored] = useState<StoredDraft>(
    () => readDraft(name) ?? { draft: initial, key: newIdempotencyKey() },
  );
  const { draft, key } = stored;
  const [asked, setAsked] = useState(0);
  const summary = useRef<HTMLDivElement>(null);
  const create = useCreateJob((jobId) => {
    forgetDraft(name);
    void navigate({ to: "/jobs/$jobId", params: { jobId } });
  });
  useEffect(() => storeDraft(name, stored), [name, stored]);
  useEffect(() => {
    if (asked) summary.current?.focus();
  }, [asked, create.error]);

  const change = (changed: Partial<Draft>) => {
    setStored((before) => ({ draft: { ...before.draft, ...changed }, key: newIdempotencyKey() }));
    if (create.error) create.reset();
  };
  const problems = useMemo(() => problemsAtFields(draft, offer), [draft, offer]);
  const submit = () => {
    setAsked(asked + 1);
    if (!problems.length) create.mutate({ request: requestOf(draft, offer), key });
  };
  const reset = () => {
    change(initial);
    setAsked(0);
  };

  const refusedField = fieldOf(create.error instanceof Refused ? create.error.param : null, fieldPaths(draft, offer));
  const problemAt = (path: string, wasLeft: boolean) => {
    if (path === refusedField && create.error) return create.error.message;
    if (!wasLeft && !asked) return undefined;
    return problems.find((one) => one.path === path)?.message;
  };
  const step = { draft, offer, change };
  return (
    <FormContext value={{ problemAt }}>
      <Problems ref={summary} problems={asked ? problems : []} refusal={create.error} refusedField={refusedField} />
      <Recipes {...step} />
      <div className="grid grid-cols-1 items-start gap-4 xl:grid-cols-[minmax(0,1fr)_minmax(0,26rem)]">
        <div className="grid min-w-0 grid-cols-1 gap-4">
          <ModelStep {...step} />
          <DataStep {...step} />
          <MethodStep {...step} />
        </div>
        <div className="min-w-0 xl:sticky xl:top-4 xl:max-h-[calc(100dvh-2rem)] xl:overflow-y-auto">
          <ReviewStep {...step} mayWrite={mayWrite} isPending={create.isPending} onCreate={submit} onReset={reset} />
        </div>
      </div>
    </FormContext>
  );
}
