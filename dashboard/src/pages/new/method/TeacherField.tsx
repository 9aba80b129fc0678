import { useQuery } from "@tanstack/react-query";
import { useId } from "react";

import { modelNamesQuery } from "@/api/chat/models";
import { besidePath, besideSchema, withValue } from "@/lib/newJob/draft";
import { Field } from "@/pages/new/fields/Field";
import type { StepProps } from "@/pages/new/fields/stepProps";

/** The model from which an objective learns, if it learns from one. Any name can be typed, such as a checkpoint's. */
export function TeacherField({ draft, offer, change }: StepProps) {
  const schema = besideSchema(draft, offer).properties?.teacher;
  return schema ? <Teacher {...{ draft, offer, change }} hint={`${schema.description}.`} /> : null;
}

function Teacher({ draft, change, hint }: StepProps & { hint: string }) {
  const { data: names = [] } = useQuery(modelNamesQuery());
  const suggestions = useId();
  const { teacher } = draft.beside;
  return (
    <div className="border-t border-line pt-5">
      <Field path={`${besidePath(draft)}.teacher`} label="Teacher" name="teacher" hint={hint}>
        {(control) => (
          <>
            <input
              {...control}
              className="field w-full aria-invalid:border-bad"
              list={suggestions}
              autoComplete="off"
              value={typeof teacher === "string" ? teacher : ""}
              onChange={({ target }) => change({ beside: withValue(draft.beside, "teacher", target.value || undefined) })}
            />
            <datalist id={suggestions}>
              {names
                .filter((name) => name !== draft.model)
                .map((name) => (
                  <option key={name} value={name} />
                ))}
            </datalist>
          </>
        )}
      </Field>
    </div>
  );
}
