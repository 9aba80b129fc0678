import { FilePicker } from "@/pages/new/fields/FilePicker";
import { Step } from "./Step";
import type { StepProps } from "@/pages/new/fields/stepProps";

export function DataStep({ draft, change }: StepProps) {
  return (
    <Step number={2} title="Data">
      <div className="grid items-start gap-5 sm:grid-cols-2">
        <FilePicker
          path="training_file"
          label="Training file"
          none="Choose…"
          hint="One JSON object a line, at least 10 of them. The objective below says which rows it takes."
          value={draft.training_file}
          onChange={(training_file) => change({ training_file })}
        />
        <FilePicker
          path="validation_file"
          label="Validation file"
          none="None"
          hint="Rows that are never trained on: validation losses, the best checkpoint and automatic ranks go by them."
          value={draft.validation_file}
          onChange={(validation_file) => change({ validation_file })}
        />
      </div>
    </Step>
  );
}
