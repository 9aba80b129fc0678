import { hyperparametersPath, methodOf, objectiveSchema, without, withValue } from "@/lib/newJob/draft";
import { schemaFields } from "@/lib/schemas/schemaFields";
import { Field } from "@/pages/new/fields/Field";
import { OneField, SchemaFields } from "@/pages/new/fields/SchemaFields";
import type { StepProps } from "@/pages/new/fields/stepProps";
import { TextControl } from "@/pages/new/fields/TextControl";

const FIRST = "learning_rate";

/** The hyperparameters, and a folded group with the options that are seldom changed. */
export function TrainingFields({ draft, offer, change }: StepProps) {
  const { training, seed } = offer.schemas;
  const fields = { schema: training, values: draft.training, path: "training" };
  const setTraining = (values: typeof draft.training) => change({ training: values });
  const rate = schemaFields(training).find(({ name }) => name === FIRST);
  const folded = Object.keys(without(draft.training, FIRST)).length;
  const set = folded + (draft.top.seed === undefined ? 0 : 1);
  return (
    <div className="grid gap-4 border-t border-line pt-5">
      <h3 className="font-medium">Hyperparameters and training</h3>
      <SchemaFields
        schema={objectiveSchema(draft, offer)}
        values={draft.hyperparameters}
        path={hyperparametersPath(draft)}
        onChange={(hyperparameters) => change({ hyperparameters })}
      >
        {rate && (
          <OneField
            field={{ ...rate, schema: { ...rate.schema, default: methodOf(draft, offer)?.learning_rate } }}
            path={`training.${FIRST}`}
            value={draft.training[FIRST]}
            onChange={(value) => setTraining(withValue(draft.training, FIRST, value))}
          />
        )}
      </SchemaFields>
      <details className="rounded border border-line px-3 py-2">
        <summary className="cursor-pointer font-medium">
          More training options{" "}
          <span className="fact">{set ? `${set} set` : "schedule, evaluation, early stopping, devices, seed"}</span>
        </summary>
        <div className="grid gap-4 pt-3">
          <SchemaFields {...fields} onChange={setTraining} only={(name) => name !== FIRST} />
          <div className="grid gap-x-5 sm:grid-cols-2">
            <Field path="seed" label="seed" isName hint="The same seed gives the same result. If empty, it is drawn at random.">
              {(control) => (
                <TextControl
                  control={control}
                  schema={seed}
                  value={draft.top.seed}
                  onChange={(value) => change({ top: withValue(draft.top, "seed", value) })}
                />
              )}
            </Field>
          </div>
        </div>
      </details>
    </div>
  );
}
