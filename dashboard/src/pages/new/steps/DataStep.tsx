import { samplesAnswers } from "@/lib/newJob/draft";
import { EvaluateField } from "@/pages/new/fields/EvaluateField";
import { FilePicker } from "@/pages/new/fields/FilePicker";
import { SplitField } from "@/pages/new/fields/SplitField";
import type { StepProps } from "@/pages/new/fields/stepProps";

import { ChosenData } from "./ChosenData";
import { Step } from "./Step";

export function DataStep(props: StepProps) {
  const { draft, offer, change } = props;
  const kind = samplesAnswers(draft, offer) ? "prompt" : undefined;
  return (
    <Step number={2} title="Data">
      <div className="grid items-start gap-5 sm:grid-cols-2">
        <FilePicker
          path="training_file"
          label="Training file"
          none="Choose…"
          hint="One JSON object per line, at least 10 lines. The objective below says which rows it needs."
          kind={kind}
          value={draft.training_file}
          onChange={(training_file) => change({ training_file })}
        />
        <FilePicker
          path="validation_file"
          label="Validation file"
          none="None"
          hint="Rows that are never trained on. Validation losses, the best checkpoint and automatic ranks need them."
          kind={kind}
          value={draft.validation_file}
          onChange={(validation_file) => change({ validation_file })}
        />
      </div>
      <ChosenData {...props} />
      <SplitField {...props} />
      <EvaluateField {...props} />
    </Step>
  );
}
