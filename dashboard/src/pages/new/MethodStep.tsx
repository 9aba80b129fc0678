import { AdapterPicker } from "./AdapterPicker";
import { MetadataFields } from "./MetadataFields";
import { ObjectivePicker } from "./ObjectivePicker";
import { Step } from "./Step";
import type { StepProps } from "./stepProps";
import { SweepFields } from "./SweepFields";
import { TrackerFields } from "./TrackerFields";
import { TrainingFields } from "./TrainingFields";

export function MethodStep(props: StepProps) {
  return (
    <Step number={3} title="Method">
      <ObjectivePicker {...props} />
      <AdapterPicker {...props} />
      <TrainingFields {...props} />
      <SweepFields {...props} />
      <TrackerFields {...props} />
      <MetadataFields {...props} />
    </Step>
  );
}
