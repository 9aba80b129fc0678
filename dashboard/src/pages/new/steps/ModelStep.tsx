import { withValue } from "@/lib/newJob/draft";
import { Field } from "@/pages/new/fields/Field";
import type { StepProps } from "@/pages/new/fields/stepProps";
import { TextControl } from "@/pages/new/fields/TextControl";

import { Step } from "./Step";

export function ModelStep({ draft, offer, change }: StepProps) {
  const { models, schemas } = offer;
  const isKnown = !draft.model || models.includes(draft.model);
  const isFineTuned = draft.model.startsWith("ft:");
  return (
    <Step number={1} title="Name and model">
      <div className="grid items-start gap-x-5 gap-y-4 sm:grid-cols-2">
        <Field path="suffix" label="Name" name="suffix" hint="What you call the job. It also becomes a part of the new model's name.">
          {(control) => (
            <TextControl
              control={control}
              schema={schemas.suffix}
              value={draft.top.suffix}
              onChange={(value) => change({ top: withValue(draft.top, "suffix", value) })}
            />
          )}
        </Field>
        <Field path="model" label="Base model" hint="The model that the job starts from.">
          {(control) => (
            <select
              {...control}
              className="field aria-invalid:border-bad"
              value={draft.model}
              onChange={(event) => change({ model: event.target.value })}
            >
              <option value="">Choose…</option>
              {models.map((model) => (
                <option key={model}>{model}</option>
              ))}
              {!isKnown && <option value={draft.model}>{`${draft.model} ${isFineTuned ? "(fine-tuned)" : "(not offered)"}`}</option>}
            </select>
          )}
        </Field>
      </div>
    </Step>
  );
}
