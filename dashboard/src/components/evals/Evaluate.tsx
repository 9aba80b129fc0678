import { useEvaluate } from "@/api/evals/judged";
import { useMayWrite } from "@/api/project/session";
import { NEEDS_A_GRADER, usualCriteria } from "@/lib/evals/chosenRuns";
import { Failure } from "@/components/page/Notice";
import type { Job } from "@/types/api";

/** Offers to judge the result of a job that has no eval yet. */
export function Evaluate({ job }: { job: Job }) {
  const evaluate = useEvaluate();
  const mayWrite = useMayWrite();
  const { fine_tuned_model: tuned, validation_file: file } = job;
  if (!file || !tuned) {
    return (
      <p className="px-4 pb-4 text-muted">
        This job was not evaluated, because it has no validation file. This command judges both models on rows of your own:{" "}
        <code className="font-mono wrap-anywhere">
          tunery evaluate {job.base_model} {job.fine_tuned_model} --file rows.jsonl
        </code>
      </p>
    );
  }
  const criteria = usualCriteria(job);
  if (!criteria.length) return <p className="px-4 pb-4 text-muted">{NEEDS_A_GRADER}</p>;
  const start = () =>
    evaluate.mutate({ name: `Evaluation of ${job.id}`, job_id: job.id, base: job.base_model, tuned, criteria, file });
  return (
    <div className="grid gap-3 px-4 pb-4">
      <p className="text-muted">
        This job was not evaluated. An eval judges the base model and this result on the validation file, by {criteria.map(({ name, type }) => name ?? type).join(" and ")}.
      </p>
      {mayWrite && (
        <div>
          <button type="button" className="button" disabled={evaluate.isPending} onClick={start}>
            {evaluate.isPending ? "Starting…" : "Evaluate"}
          </button>
        </div>
      )}
      {evaluate.error && <Failure asked error={evaluate.error} />}
    </div>
  );
}
