import { useQuery } from "@tanstack/react-query";
import { useMemo, useState } from "react";

import { aliasesQuery, useComposed, useDescendants, useParts } from "@/api/project/adapters";
import { useWorkList } from "@/api/work/work";
import { graphOf, type Node, withoutLateOnes, withoutLongChains } from "@/lib/lineage/graph";
import { Failure } from "@/components/page/Notice";
import { Section } from "@/components/page/Section";
import type { Adapter } from "@/types/api";

import { LineageGraph } from "./LineageGraph";

/** What came before the adapter and what came after it, as a graph. */
export function Family({ adapter }: { adapter: Adapter }) {
  return (
    <Section title="Before and after">
      {/* Another adapter's graph is folded again, and shows that adapter in its middle */}
      <FamilyOf key={adapter.id} adapter={adapter} />
    </Section>
  );
}

function FamilyOf({ adapter }: { adapter: Adapter }) {
  const [unfolded, setUnfolded] = useState({ before: false, after: false });
  const parts = useParts(adapter);
  const exports = useWorkList("export", adapter.id);
  const composed = useComposed(adapter.id);
  const jobs = useDescendants(adapter.id);
  const after = [exports, composed, jobs];
  const [madeExports, madeAdapters, madeJobs] = [exports.items, composed.items, jobs.items];
  const graph = useMemo(() => {
    const whole = graphOf(adapter, parts, { exports: madeExports ?? [], composed: madeAdapters ?? [], jobs: madeJobs ?? [] });
    const early = unfolded.before ? whole : withoutLongChains(whole);
    return unfolded.after ? early : withoutLateOnes(early);
  }, [adapter, parts, madeExports, madeAdapters, madeJobs, unfolded]);
  const unfold = ({ id }: Node) => {
    const isAfter = graph.edges.some(({ from, to }) => from === adapter.id && to === id);
    setUnfolded((now) => (isAfter ? { ...now, after: true } : { ...now, before: true }));
  };
  const failure = after.find(({ failureReason }) => failureReason != null)?.failureReason;
  const unread = [composed, jobs].filter(({ hasNextPage }) => hasNextPage);
  return (
    <div className="grid gap-2 pb-3">
      <LineageGraph graph={graph} onUnfold={unfold} />
      <div className="grid gap-2 px-4">
        {failure != null && <Failure error={failure} />}
        {failure == null && after.some(({ items }) => items === undefined) && <p className="text-muted">Reading…</p>}
        {after.every(({ items }) => items?.length === 0) && <p className="text-muted">Nothing has been made from it yet.</p>}
        {unread.length > 0 && (
          <button
            type="button"
            className="button justify-self-start"
            disabled={unread.some(({ isFetchingNextPage }) => isFetchingNextPage)}
            onClick={() => {
              for (const list of unread) void list.fetchNextPage();
            }}
          >
            Read more of what came after it
          </button>
        )}
        <Aliases model={adapter.model} />
      </div>
    </div>
  );
}

function Aliases({ model }: { model: string }) {
  const { data: names = [] } = useQuery(aliasesQuery(model));
  if (!names.length) return null;
  return (
    <p>
      <span className="text-muted">Aliases that lead here: </span>
      {names.join(", ")}
    </p>
  );
}
