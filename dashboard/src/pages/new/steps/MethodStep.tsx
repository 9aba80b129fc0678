import type { StepProps } from "@/pages/new/fields/stepProps";
import { AdapterPicker } from "@/pages/new/method/AdapterPicker";
import { AdvancedFields } from "@/pages/new/method/AdvancedFields";
import { BasicFields } from "@/pages/new/method/BasicFields";
import { GraderFields } from "@/pages/new/method/GraderFields";
import { ObjectivePicker } from "@/pages/new/method/ObjectivePicker";
import { TeacherField } from "@/pages/new/method/TeacherField";
import { ToolFields } from "@/pages/new/method/ToolFields";

import { Step } from "./Step";

export function MethodStep(props: StepProps) {
  return (
    <Step number={3} title="Method">
      <ObjectivePicker {...props} />
      <GraderFields {...props} />
      <ToolFields {...props} />
      <TeacherField {...props} />
      <AdapterPicker {...props} />
      <BasicFields {...props} />
      <AdvancedFields {...props} />
    </Step>
  );
}
