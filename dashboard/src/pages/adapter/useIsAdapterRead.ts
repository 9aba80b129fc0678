import { useQueries, useQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";

import { comparisonQuery, MOST_CHANGED, type Pair, pairOf, useChangedRows } from "@/api/evals/comparisons";
import { judgedQuery } from "@/api/evals/judged";
import { datasetsQuery } from "@/api/jobs/offers";
import { aliasesQuery, cardQuery, manifestQuery, ranksQuery, useComposed, useDescendants } from "@/api/project/adapters";
import { isSettled } from "@/api/settled";
import { useWorkList, workQuery } from "@/api/work/work";
import { againstBase, shownEvals } from "@/lib/evals/chosenRuns";
import type { Adapter } from "@/types/api";

const PATIENCE_MS = 5_000;

/**
 * Returns whether all has been read that decides how tall the sections of the adapter's page are. They are shown together
 * then, so that nothing moves while it is read. What is read again later changes nothing of that. A part that takes long
 * does not hold back the others: then each section says what it still reads.
 */
export function useIsAdapterRead(adapter: Adapter): boolean {
  const [wasRead, setWasRead] = useState(false);
  useEffect(() => {
    const timer = setTimeout(() => setWasRead(true), PATIENCE_MS);
    return () => clearTimeout(timer);
  }, []);
  const judged = useQuery(judgedQuery({ model: adapter.model }));
  const { result, forgetting } = shownEvals(againstBase(judged.data ?? [], adapter));
  const pair = result ? pairOf(result) : null;
  const others = forgetting ? pairOf(forgetting) : null;
  const compared = useQueries({ queries: [pair, others].flatMap((one) => (one ? [comparisonQuery(one)] : [])) });
  const areRowsRead = useAreRowsRead(pair, pair ? compared[0]?.data?.criteria[0]?.name : undefined);
  const parts = [
    useQuery(manifestQuery(adapter)),
    useQuery(cardQuery(adapter)),
    useQuery(ranksQuery(adapter.id)),
    useQuery(workQuery("measurement", adapter.id)),
    useQuery(aliasesQuery(adapter.model)),
    useWorkList("export", adapter.id),
    useComposed(adapter.id),
    useDescendants(adapter.id),
    useQuery({ ...datasetsQuery, enabled: judged.data !== undefined && !result }), // then a form offers the files
  ];
  const isRead = wasRead || (areRowsRead && [judged, ...compared, ...parts].every(isSettled));
  if (isRead && !wasRead) setWasRead(true);
  return isRead;
}

const NO_PAIR: Pair = { evalId: "", base: "", tuned: "" };

/** The rows that changed most, which are asked for once the comparison names its first criterion. */
function useAreRowsRead(pair: Pair | null, criterion: string | undefined): boolean {
  const options = { page: MOST_CHANGED, enabled: pair !== null && criterion !== undefined };
  const better = useChangedRows(pair ?? NO_PAIR, criterion ?? "", "better", options);
  const worse = useChangedRows(pair ?? NO_PAIR, criterion ?? "", "worse", options);
  return isSettled(better) && isSettled(worse);
}
