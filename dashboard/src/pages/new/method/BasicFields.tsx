import { hyperparametersPath, methodOf, objectiveSchema, optionsSchema, withValue } from "@/lib/newJob/draft";
import { BASIC_HYPERPARAMETERS, BASIC_OPTIONS, LEARNING_RATE } from "@/lib/newJob/fieldWords";
import { peakLearningRate } from "@/lib/newJob/learningRate";
import { schemaFields } from "@/lib/schemas/schemaFields";
import { rounded } from "@/lib/text/format";
import { OneField } from "@/pages/new/fields/SchemaFields";
import type { StepProps } from "@/pages/new/fields/stepProps";

/** What most jobs set: rank, epochs and learning rate. */
export function BasicFields({ draft, offer, change }: StepProps) {
  const options = draft.options[draft.adapter] ?? {};
  const rank = schemaFields(optionsSchema(draft, offer)).filter(({ name }) => BASIC_OPTIONS.has(name));
  const epochs = schemaFields(objectiveSchema(draft, offer)).filter(({ name }) => BASIC_HYPERPARAMETERS.has(name));
  return (
    <div className="grid items-start gap-x-5 gap-y-4 border-t border-line pt-5 sm:grid-cols-2 lg:grid-cols-3">
      {rank.map((field) => (
        <OneField
          key={`${draft.adapter} ${field.name}`}
          field={field}
          path={`adapter.${field.name}`}
          value={options[field.name]}
          onChange={(value) =>
            change({ options: { ...draft.options, [draft.adapter]: withValue(options, field.name, value) } })
          }
        />
      ))}
      {epochs.map((field) => (
        <OneField
          key={field.name}
          field={field}
          path={`${hyperparametersPath(draft)}.${field.name}`}
          value={draft.hyperparameters[field.name]}
          onChange={(value) => change({ hyperparameters: withValue(draft.hyperparameters, field.name, value) })}
        />
      ))}
      <LearningRate {...{ draft, offer, change }} />
    </div>
  );
}

/** The learning rate, and what becomes of it with OpenAI's multiplier. */
function LearningRate({ draft, offer, change }: StepProps) {
  const field = schemaFields(offer.schemas.training).find(({ name }) => name === LEARNING_RATE);
  if (!field) return null;
  const usual = methodOf(draft, offer)?.learning_rate;
  const { peak, multiplier, isUsual } = peakLearningRate(draft, usual);
  const explained =
    multiplier === 1
      ? "The highest rate of the schedule. Empty: the usual rate of the adapter"
      : `With ${isUsual ? "the objective's own multiplier" : "the multiplier"} ${multiplier} under Advanced, the job trains at ${peak === null ? "that many times the rate" : rounded(peak, 4)}`;
  return (
    <OneField
      field={{ ...field, schema: { ...field.schema, default: usual, description: explained } }}
      path={`training.${LEARNING_RATE}`}
      value={draft.training[LEARNING_RATE]}
      onChange={(value) => change({ training: withValue(draft.training, LEARNING_RATE, value) })}
    />
  );
}
