import { useId } from "react";

import { hasRowsToEvaluate } from "@/lib/newJob/draft";

import { FieldNote } from "./FieldNote";
import { fieldId, useForm } from "./formContext";
import type { StepProps } from "./stepProps";

const PATH = "evaluate";
const HINT =
  "Once the job has succeeded, both models are judged on the validation file, and on general questions that show what " +
  "the model has forgotten. The job’s page then says whether the result is better.";

/** Whether the result is compared with the base model. Without held-out rows, there is nothing to judge it on. */
export function EvaluateField({ draft, change }: StepProps) {
  const problem = useForm().problemAt(PATH, true);
  const note = useId();
  if (!hasRowsToEvaluate(draft)) return null;
  return (
    <div className="grid grid-cols-[auto_1fr] content-start gap-x-2 gap-y-1">
      <input
        id={fieldId(PATH)}
        type="checkbox"
        className="mt-0.5 size-4 accent-accent"
        aria-describedby={note}
        aria-invalid={problem !== undefined}
        checked={draft.evaluate !== null}
        onChange={({ target }) => change({ evaluate: target.checked ? {} : null })}
      />
      <label htmlFor={fieldId(PATH)} className="font-medium">
        Evaluate against the base model at the end
      </label>
      <div className="col-start-2">
        <FieldNote id={note} hint={HINT} problem={problem} />
      </div>
    </div>
  );
}
