import type { Method } from "@/api/types";
import { methodOf, optionsSchema } from "@/lib/newJob/draft";
import { Field } from "@/pages/new/fields/Field";
import { SchemaFields } from "@/pages/new/fields/SchemaFields";
import type { StepProps } from "@/pages/new/fields/stepProps";

/** Chooses the method, with its options under PEFT's names. */
export function AdapterPicker({ draft, offer, change }: StepProps) {
  const method = methodOf(draft, offer);
  const values = draft.options[draft.adapter] ?? {};
  const setValues = (changed: typeof values) =>
    change({ options: { ...draft.options, [draft.adapter]: changed } });
  return (
    <div className="grid gap-4 border-t border-line pt-5">
      <div className="grid items-start gap-x-5 gap-y-3 sm:grid-cols-2">
        <Field path="adapter.type" label="Adapter">
          {(control) => (
            <select
              {...control}
              className="field aria-invalid:border-bad"
              value={draft.adapter}
              onChange={(event) => change({ adapter: event.target.value })}
            >
              {offer.methods.map(({ id, title }) => (
                <option key={id} value={id}>
                  {title}
                </option>
              ))}
              {!method && <option value={draft.adapter}>{draft.adapter} (not offered)</option>}
            </select>
          )}
        </Field>
        {method && <MethodFacts method={method} />}
      </div>
      <SchemaFields
        key={draft.adapter}
        schema={optionsSchema(draft, offer)}
        values={values}
        path="adapter"
        onChange={setValues}
      />
    </div>
  );
}

function MethodFacts({ method }: { method: Method }) {
  const { good_for, cost, runtimes, paper, result } = method;
  return (
    <dl className="grid grid-cols-[auto_1fr] gap-x-3 gap-y-1 rounded bg-sunken p-3 text-xs">
      <dt className="text-muted">Good for</dt>
      <dd>{good_for}</dd>
      <dt className="text-muted">Costs</dt>
      <dd>{cost}</dd>
      <dt className="text-muted">Makes</dt>
      <dd>
        {result === "model" ? "a whole model" : "an adapter"} for {runtimes.join(", ")}
      </dd>
      {paper && (
        <>
          <dt className="text-muted">Paper</dt>
          <dd>
            <a href={paper.url} target="_blank" rel="noreferrer" className="link">
              {paper.title}
            </a>
          </dd>
        </>
      )}
    </dl>
  );
}
