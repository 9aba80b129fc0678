import { type ReactNode, useState } from "react";

import { hyperparametersPath, objectiveSchema, optionsSchema, withValue } from "@/lib/newJob/draft";
import {
  BASIC_HYPERPARAMETERS,
  BASIC_OPTIONS,
  fieldWords,
  LEARNING_RATE,
  TRAINING_GROUPS,
  trainingGroupOf,
} from "@/lib/newJob/fieldWords";
import { isAdvanced } from "@/lib/newJob/isAdvanced";
import { Field } from "@/pages/new/fields/Field";
import { SchemaFields } from "@/pages/new/fields/SchemaFields";
import type { StepProps } from "@/pages/new/fields/stepProps";
import { TextControl } from "@/pages/new/fields/TextControl";

import { JsonField } from "./JsonField";
import { MetadataFields } from "./MetadataFields";
import { RowFields } from "./RowFields";
import { SweepFields } from "./SweepFields";
import { TrackerFields } from "./TrackerFields";

/** All other settings, in groups. They are folded away unless the draft begins with one of them. */
export function AdvancedFields(props: StepProps) {
  const { draft, offer, change } = props;
  const options = draft.options[draft.adapter] ?? {};
  const [isOpen] = useState(() => isAdvanced(draft));
  return (
    <details className="rounded border border-line" open={isOpen}>
      <summary className="cursor-pointer px-4 py-3 font-semibold">
        <span>Advanced</span> <span className="fact font-normal">adapter, batches, schedule, evaluation, devices, training rows, sweep, trackers, metadata</span>
      </summary>
      <div className="grid gap-6 px-4 pb-4">
        <Group title="Adapter">
          <SchemaFields
            key={draft.adapter}
            schema={optionsSchema(draft, offer)}
            values={options}
            path="adapter"
            onChange={(changed) => change({ options: { ...draft.options, [draft.adapter]: changed } })}
            only={(name) => !BASIC_OPTIONS.has(name)}
          />
        </Group>
        <Group title="Batches and objective">
          <SchemaFields
            schema={objectiveSchema(draft, offer)}
            values={draft.hyperparameters}
            path={hyperparametersPath(draft)}
            onChange={(hyperparameters) => change({ hyperparameters })}
            only={(name) => !BASIC_HYPERPARAMETERS.has(name)}
          />
          <JsonField {...props} name="response_format" label="Form of the answers" rows={2} />
        </Group>
        {TRAINING_GROUPS.map(({ title }) => (
          <Group key={title} title={title}>
            <SchemaFields
              schema={offer.schemas.training}
              values={draft.training}
              path="training"
              onChange={(training) => change({ training })}
              only={(name) => name !== LEARNING_RATE && trainingGroupOf(name) === title}
            />
          </Group>
        ))}
        <RowFields {...props} />
        <Seed {...props} />
        <SweepFields {...props} />
        <TrackerFields {...props} />
        <MetadataFields {...props} />
      </div>
    </details>
  );
}

function Group({ title, children }: { title: string; children: ReactNode }) {
  return (
    <div className="grid gap-4 border-t border-line pt-4">
      <h3>{title}</h3>
      {children}
    </div>
  );
}

function Seed({ draft, offer, change }: StepProps) {
  return (
    <div className="grid gap-x-5 sm:grid-cols-2">
      <Field
        path="seed"
        label={fieldWords("seed")}
        name="seed"
        hint="The same seed gives the same result. If empty, it is drawn at random."
      >
        {(control) => (
          <TextControl
            control={control}
            schema={offer.schemas.seed}
            value={draft.top.seed}
            onChange={(value) => change({ top: withValue(draft.top, "seed", value) })}
          />
        )}
      </Field>
    </div>
  );
}
