import { methodOf, optionsSchema, triedOf, withValue } from "@/lib/newJob/draft";
import { fieldWords } from "@/lib/newJob/fieldWords";
import { combinations, parseTried, takesLists, type Tried, triedFields, writeTried } from "@/lib/newJob/sweepDraft";
import type { Schema } from "@/lib/schemas/schema";
import { words } from "@/lib/schemas/schemaWords";
import { counted } from "@/lib/text/format";
import { Field } from "@/pages/new/fields/Field";
import { FieldGroup } from "@/pages/new/fields/FieldGroup";
import { fieldId } from "@/pages/new/fields/formContext";
import type { StepProps } from "@/pages/new/fields/stepProps";
import { TextControl } from "@/pages/new/fields/TextControl";
import { Tick } from "@/components/forms/Tick";

const HINT =
  "Each combination of values is a candidate. All candidates train on the same steps. After each comparison on the " +
  "validation file, the worse half is dropped. The best candidate becomes the job's adapter.";

/** The values to try in a sweep. The job trains a candidate for each combination and publishes the best. */
export function SweepFields({ draft, offer, change }: StepProps) {
  const tried = draft.tried;
  const trainsAlone = methodOf(draft, offer)?.trains === "alone";
  return (
    <FieldGroup title="Sweep" path="parameters" hint={HINT}>
      <Tick id={fieldId("parameters")} checked={tried !== null} onChange={(checked) => change({ tried: checked ? {} : null })}>
        Try several values and keep the best
      </Tick>
      {trainsAlone && tried && (
        <p className="text-xs text-warn">Jobs with this adapter train alone, so candidates cannot share steps.</p>
      )}
      {tried && (
        <>
          <div className="grid items-start gap-x-5 gap-y-4 sm:grid-cols-2">
            {triedFields(offer.schemas.sweep, optionsSchema(draft, offer)).map(([path, schema]) => (
              <TriedField
                key={path}
                path={path}
                schema={schema}
                value={tried[path]}
                onChange={(values) => change({ tried: withValue(tried, path, values) as Tried })}
              />
            ))}
          </div>
          <p role="status">{counted(combinations(triedOf(draft, offer)), "candidate")}</p>
        </>
      )}
    </FieldGroup>
  );
}

interface TriedFieldProps {
  path: string;
  schema: Schema;
  value: unknown;
  onChange: (values: unknown) => void;
}

function TriedField({ path, schema, value, onChange }: TriedFieldProps) {
  const description = schema.description ? `${schema.description}. ` : "";
  const hint = takesLists(schema)
    ? "Values with commas between them. Each is all-linear, or names joined by +, such as q_proj+v_proj."
    : `Values with commas between them. Each is ${words(schema.items ?? {})}.`;
  return (
    <Field path={`parameters.${path}`} label={fieldWords(path.split(".").at(-1) ?? path)} name={path} hint={description + hint}>
      {(control) => (
        <TextControl {...{ control, schema, value, onChange }} reading={parseTried} writing={writeTried} />
      )}
    </Field>
  );
}
