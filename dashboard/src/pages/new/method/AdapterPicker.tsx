import { useState } from "react";

import { methodOf } from "@/lib/newJob/draft";
import { methodGroups } from "@/lib/newJob/methodGroups";
import type { Method } from "@/lib/schemas/method";
import { counted } from "@/lib/text/format";
import { Field } from "@/pages/new/fields/Field";
import type { StepProps } from "@/pages/new/fields/stepProps";
import { Prose } from "@/components/basics/Prose";

/** Chooses the method of adaptation: in groups, or by words. */
export function AdapterPicker({ draft, offer, change }: StepProps) {
  const [typed, setTyped] = useState("");
  const method = methodOf(draft, offer);
  const groups = methodGroups(offer.methods, typed);
  const found = groups.flatMap(({ methods }) => methods);
  const isFound = found.some(({ id }) => id === draft.adapter);
  return (
    <div className="grid items-start gap-x-5 gap-y-3 border-t border-line pt-5 sm:grid-cols-2">
      <div className="grid gap-2">
        <Field path="adapter.type" label="Adapter" name="adapter.type">
          {(control) => (
            <select
              {...control}
              className="field aria-invalid:border-bad"
              value={draft.adapter}
              onChange={(event) => change({ adapter: event.target.value })}
            >
              {!isFound && <option value={draft.adapter}>{method?.title ?? `${draft.adapter} (not offered)`}</option>}
              {groups.map(({ title, methods }) => (
                <optgroup key={title} label={title}>
                  {methods.map((one) => (
                    <option key={one.id} value={one.id}>
                      {one.title}
                    </option>
                  ))}
                </optgroup>
              ))}
            </select>
          )}
        </Field>
        <input
          type="search"
          aria-label="Search the adapters"
          placeholder={`Search ${counted(offer.methods.length, "adapter")} by name or use`}
          className="field"
          value={typed}
          onChange={(event) => setTyped(event.target.value)}
        />
        {typed && (
          <p role="status" className="fact">
            {found.length ? `${found.map(({ title }) => title).join(", ")}: choose above.` : "No adapter has these words."}
          </p>
        )}
      </div>
      {method && <MethodFacts method={method} />}
    </div>
  );
}

function MethodFacts({ method }: { method: Method }) {
  const { good_for, cost, runtimes, paper, result } = method;
  return (
    <dl className="grid grid-cols-[auto_1fr] gap-x-3 gap-y-1 rounded bg-sunken p-3 text-xs">
      <dt className="text-muted">Good for</dt>
      <dd>
        <Prose text={good_for} />
      </dd>
      <dt className="text-muted">Costs</dt>
      <dd>
        <Prose text={cost} />
      </dd>
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
