import { useQueries } from "@tanstack/react-query";
import { getRouteApi } from "@tanstack/react-router";
import { type SubmitEvent, useState } from "react";

import { adapterQuery } from "@/api/project/adapters";
import { useWork } from "@/api/work/work";
import { partsOf, withoutPart, withPart } from "@/lib/addresses/composeSearch";
import { type ComposeDraft, EMPTY_DRAFT, missingIn, requestOf } from "@/lib/compose/draft";
import { Failure } from "@/components/page/Notice";
import { Section } from "@/components/page/Section";

import { AddAdapter } from "./AddAdapter";
import { MethodFields } from "./MethodFields";
import { type Part, Parts } from "./Parts";
import { SearchFields } from "./SearchFields";

const route = getRouteApi("/compose");
const USUAL_WEIGHT = "1";

/** The form of a composition: adapters with their weights, a method with its options, a search, a name. */
export function ComposeForm() {
  const { adapters } = route.useSearch();
  const navigate = route.useNavigate();
  const { start: create } = useWork("composition");
  const [draft, setDraft] = useState(EMPTY_DRAFT);
  const [weights, setWeights] = useState<Record<string, string>>({});
  const ids = partsOf(adapters);
  const found = useQueries({ queries: ids.map(adapterQuery) });
  const parts = ids.map((id, at): Part => {
    const { data: adapter, error = null } = found[at] ?? {};
    return { id, name: adapter?.model || id, weight: weights[id] ?? USUAL_WEIGHT, adapter, error };
  });
  const missing = missingIn(parts.length, draft);
  const choose = (chosen: string | undefined) =>
    void navigate({ search: chosen ? { adapters: chosen } : {}, replace: true, resetScroll: false });
  const change = (changed: Partial<ComposeDraft>) => setDraft((before) => ({ ...before, ...changed }));
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    create.mutate(requestOf(parts, draft));
  };
  return (
    <Section
      title="Adapters"
      tools={<AddAdapter chosen={parts} onAdd={(id) => choose(withPart(adapters, id))} />}
    >
      <form onSubmit={submit}>
        <Parts
          parts={parts}
          onWeight={(id, weight) => setWeights((before) => ({ ...before, [id]: weight }))}
          onRemove={(id) => choose(withoutPart(adapters, id))}
        />
        <div className="grid gap-4 border-t border-line p-4">
          <MethodFields draft={draft} change={change} />
          <SearchFields draft={draft} change={change} />
          <div className="flex flex-wrap items-center gap-3">
            <button type="submit" className="button button-primary" disabled={missing !== null || create.isPending}>
              {create.isPending ? "Starting…" : "Compose"}
            </button>
            {missing && <p className="text-muted">{missing}</p>}
          </div>
          {create.error && <Failure asked error={create.error} />}
        </div>
      </form>
    </Section>
  );
}
