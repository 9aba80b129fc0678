import { useEvaluate } from "@/api/evals/ofJob";
import { useMayWrite } from "@/api/project/session";
import type { Job } from "@/api/types";
import { usualCriteria } from "@/lib/evals/chosenRuns";
import { Failure } from "@/parts/page/Notice";

/** Offers to judge the result of a job that has no eval yet. */
export function Evaluate({ job }: { job: Job }) {
  const evaluate = useEvaluate(job);
  const mayWrite = useMayWrite();
  if (!job.validation_file) {
    return (
      <p className="px-4 pb-4 text-muted">
        This job was not evaluated, because it has no validation file. This command judges both models on rows of your own:{" "}
        <code className="font-mono break-all">
          tunery evaluate {job.base_model} {job.fine_tuned_model} --file rows.jsonl
        </code>
      </p>
    );
  }
  const criteria = usualCriteria(job.method.type).join(" and ");
  return (
    <div className="grid gap-3 px-4 pb-4">
      <p className="text-muted">
        This job was not evaluated. An eval judges the base model and this result on the validation file, by {criteria}.
      </p>
      {mayWrite && (
        <div>
          <button type="button" className="button" disabled={evaluate.isPending} onClick={() => evaluate.mutate()}>
            {evaluate.isPending ? "Starting…" : "Evaluate"}
          </button>
        </div>
      )}
      {evaluate.error && <Failure asked error={evaluate.error} />}
    </div>
  );
}
