import type { StepProps } from "@/pages/new/fields/stepProps";
import { AdapterPicker } from "@/pages/new/method/AdapterPicker";
import { MetadataFields } from "@/pages/new/method/MetadataFields";
import { ObjectivePicker } from "@/pages/new/method/ObjectivePicker";
import { SweepFields } from "@/pages/new/method/SweepFields";
import { TrackerFields } from "@/pages/new/method/TrackerFields";
import { TrainingFields } from "@/pages/new/method/TrainingFields";

import { Step } from "./Step";

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
