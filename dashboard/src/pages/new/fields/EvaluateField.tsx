import { hasRowsToEvaluate } from "@/lib/newJob/draft";

import { CheckField } from "./CheckField";
import type { StepProps } from "./stepProps";

const HINT =
  "Once the job has succeeded, both models are judged on the validation file, and on general questions that show what " +
  "the model has forgotten. The job’s page then says whether the result is better.";

/** Whether the result is compared with the base model. Without held-out rows, there is nothing to judge it on. */
export function EvaluateField({ draft, change }: StepProps) {
  if (!hasRowsToEvaluate(draft)) return null;
  return (
    <CheckField
      path="evaluate"
      label="Evaluate against the base model at the end"
      hint={HINT}
      checked={draft.evaluate !== null}
      onChange={(checked) => change({ evaluate: checked ? {} : null })}
    />
  );
}
