import { isRecord } from "@/lib/isRecord";
import { SPLIT, withValue } from "@/lib/newJob/draft";
import { FieldGroup } from "@/pages/new/fields/FieldGroup";
import { OneField, SchemaFields } from "@/pages/new/fields/SchemaFields";
import type { StepProps } from "@/pages/new/fields/stepProps";

const PATH = "augmentation";
const HINT =
  "Rows that are held out, and variants of rows that are trained beside them. Answers that are learnt are never changed. " +
  "The job makes its rows once; its page then leads to them.";

/** How the job makes its rows of the training file. */
export function RowFields({ draft, offer, change }: StepProps) {
  const { validation_split, augmentation } = offer.schemas;
  const values = draft.top[PATH];
  const set = (name: string, value: unknown) => change({ top: withValue(draft.top, name, value) });
  return (
    <FieldGroup title="Training rows" path={PATH} hint={HINT} takesFocus>
      {!draft.validation_file && (
        <div className="grid gap-x-5 sm:grid-cols-2">
          <OneField
            field={{ name: SPLIT, schema: validation_split, kind: "text", isRequired: false }}
            path={SPLIT}
            value={draft.top[SPLIT]}
            onChange={(value) => set(SPLIT, value)}
          />
        </div>
      )}
      <SchemaFields
        schema={augmentation}
        values={isRecord(values) ? values : {}}
        path={PATH}
        onChange={(changed) => set(PATH, Object.keys(changed).length ? changed : undefined)}
      />
    </FieldGroup>
  );
}
