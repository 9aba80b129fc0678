import { methodOf, optionsSchema, triedOf, withValue } from "@/lib/newJob/draft";
import { integer } from "@/lib/text/format";
import type { Schema } from "@/lib/schemas/schema";
import { words } from "@/lib/schemas/schemaWords";
import { combinations, parseTried, takesLists, type Tried, triedFields, writeTried } from "@/lib/newJob/sweepDraft";

import { Field } from "@/pages/new/fields/Field";
import { fieldId, useForm } from "@/pages/new/fields/formContext";
import type { StepProps } from "@/pages/new/fields/stepProps";
import { TextControl } from "@/pages/new/fields/TextControl";

/** Several values instead of one: the job trains a candidate for each combination, and publishes the best. */
export function SweepFields({ draft, offer, change }: StepProps) {
  const problem = useForm().problemAt("parameters", true);
  const tried = draft.tried;
  const trainsAlone = methodOf(draft, offer)?.trains === "alone";
  return (
    <fieldset className="grid min-w-0 grid-cols-1 gap-4 border-t border-line pt-5">
      <legend className="float-left font-medium">Sweep</legend>
      <div className="clear-both grid gap-1">
        <label className="flex items-center gap-2">
          <input
            id={fieldId("parameters")}
            type="checkbox"
            className="size-4 accent-accent"
            checked={tried !== null}
            onChange={({ target }) => change({ tried: target.checked ? {} : null })}
          />
          Try several values and keep the best
        </label>
        <p className="fact">
          Each combination is a candidate. They train on the same steps, the worse half is dropped again and again by
          the loss on the validation file, and the best one becomes the job&apos;s adapter.
        </p>
        {trainsAlone && tried && (
          <p className="text-xs text-warn">Jobs of this adapter train alone: their candidates cannot share steps.</p>
        )}
        {problem !== undefined && <p className="text-xs text-bad">{problem}</p>}
      </div>
      {tried && (
        <>
          <div className="grid items-start gap-x-5 gap-y-4 sm:grid-cols-2">
            {triedFields(offer.schemas.sweep, optionsSchema(draft, offer)).map(([place, schema]) => (
              <TriedField
                key={place}
                place={place}
                schema={schema}
                value={tried[place]}
                onChange={(values) => change({ tried: withValue(tried, place, values) as Tried })}
              />
            ))}
          </div>
          <p role="status">{candidates(triedOf(draft, offer))}</p>
        </>
      )}
    </fieldset>
  );
}

function candidates(tried: Tried): string {
  const count = combinations(tried);
  return count === 1 ? "1 candidate" : `${integer(count)} candidates`;
}

interface TriedFieldProps {
  place: string;
  schema: Schema;
  value: unknown;
  onChange: (values: unknown) => void;
}

function TriedField({ place, schema, value, onChange }: TriedFieldProps) {
  const told = schema.description ? `${schema.description.replaceAll("`", "")}. ` : "";
  const hint = takesLists(schema)
    ? "Each all-linear, or names joined by +, such as q_proj+v_proj; commas between."
    : `Each ${words(schema.items ?? {})}; commas between.`;
  return (
    <Field path={`parameters.${place}`} label={place} isName hint={told + hint}>
      {(control) => (
        <TextControl {...{ control, schema, value, onChange }} reading={parseTried} writing={writeTried} />
      )}
    </Field>
  );
}
