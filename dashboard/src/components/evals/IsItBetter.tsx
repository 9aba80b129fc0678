import { useQuery } from "@tanstack/react-query";

import { judgedQuery } from "@/api/evals/judged";
import { shownEvals } from "@/lib/evals/chosenRuns";
import { Failure } from "@/components/page/Notice";
import { Section } from "@/components/page/Section";
import type { Job } from "@/types/api";

import { Evaluate } from "./Evaluate";
import { Forgetting, Outcome, ToEval } from "./Outcome";

/** The result of a job against its base model, by each criterion, and what the model has forgotten. */
export function IsItBetter({ job }: { job: Job }) {
  const hasSucceeded = job.status === "succeeded"; // before that, a job has no evals
  const { data: evals, failureReason } = useQuery({ ...judgedQuery({ job_id: job.id }), enabled: hasSucceeded });
  if (!hasSucceeded || (evals === undefined && failureReason === null)) return null;
  const { result, forgetting } = shownEvals(evals ?? []);
  return (
    <Section id="evaluation" title="Is it better?" tools={result && <ToEval id={result.eval.id} />}>
      {evals === undefined && <Failure error={failureReason} />}
      {evals !== undefined && !result && <Evaluate job={job} />}
      {result && <Outcome judged={result} label="Result against the base model" />}
      {forgetting && <Forgetting judged={forgetting} />}
    </Section>
  );
}
