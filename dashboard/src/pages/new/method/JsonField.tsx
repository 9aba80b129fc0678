import { besidePath, besideSchema, withValue } from "@/lib/newJob/draft";
import { readJson, writeJson } from "@/lib/schemas/jsonOption";
import { Field } from "@/pages/new/fields/Field";
import { LinesControl } from "@/pages/new/fields/LinesControl";
import type { StepProps } from "@/pages/new/fields/stepProps";

interface JsonFieldProps extends StepProps {
  name: string;
  label: string;
  rows: number;
}

/** An option beside the hyperparameters of the objective, written as JSON. Not every objective has the option. */
export function JsonField({ draft, offer, change, name, label, rows }: JsonFieldProps) {
  const schema = besideSchema(draft, offer).properties?.[name];
  if (!schema) return null;
  const set = (value: unknown) => change({ beside: withValue(draft.beside, name, value) });
  return (
    <Field path={`${besidePath(draft)}.${name}`} label={label} name={name} hint={`${schema.description}.`}>
      {(control) => (
        <LinesControl {...{ control, schema, rows }} value={draft.beside[name]} onChange={set} reading={readJson} writing={writeJson} />
      )}
    </Field>
  );
}
