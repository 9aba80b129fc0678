import { type Change, MOST_CHANGED, type Pair, useChangedRows } from "@/api/evals/comparisons";
import { promptOf } from "@/lib/evals/rowTexts";
import { Failure } from "@/components/page/Notice";
import type { ChangedRow } from "@/types/api";

import { RowScores, RowTexts } from "./ChangedRow";

interface MostChangedProps {
  pair: Pair;
  /** The name of the criterion by which the rows changed. */
  criterion: string;
}

/** The rows that changed most for better and for worse, a line each, which opens to the texts. */
export function MostChanged(props: MostChangedProps) {
  return (
    <>
      <Rows {...props} change="better" />
      <Rows {...props} change="worse" />
    </>
  );
}

function Rows({ pair, criterion, change }: MostChangedProps & { change: Change }) {
  const { items = [], failureReason } = useChangedRows(pair, criterion, change, { page: MOST_CHANGED });
  const title = `Most ${change === "better" ? "improved" : "worsened"} by ${criterion}`;
  if (failureReason != null) return <Failure error={failureReason} />;
  if (!items.length) return null;
  return (
    <div className="border-t border-line px-4 py-2">
      <h3 className="font-medium">{title}</h3>
      <ol aria-label={title}>
        {items.map((row) => (
          <li key={row.id}>
            <Line row={row} />
          </li>
        ))}
      </ol>
    </div>
  );
}

function Line({ row }: { row: ChangedRow }) {
  return (
    <details>
      <summary className="cursor-pointer py-1">
        <RowScores row={row} />
        <span className="fact block truncate pl-4">{promptOf(row.datasource_item, row.base.sample)}</span>
      </summary>
      <div className="py-2">
        <RowTexts row={row} />
      </div>
    </details>
  );
}
