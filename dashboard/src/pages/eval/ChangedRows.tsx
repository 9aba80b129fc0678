import { type Change, type Pair, useChangedRows } from "@/api/evals/comparisons";
import type { EvalSearch } from "@/lib/addresses/evalSearch";
import { integer } from "@/lib/text/format";
import { RowScores, RowTexts } from "@/components/evals/ChangedRow";
import { Section } from "@/components/page/Section";
import { PagedList } from "@/components/tables/PagedList";
import type { CriterionComparison } from "@/types/api";

interface ChangedRowsProps {
  pair: Pair;
  criteria: readonly CriterionComparison[];
  search: EvalSearch;
  onChange: (changed: EvalSearch) => void;
}

const CHANGES: readonly Change[] = ["better", "worse"];

/** The rows that the tuned model does better or worse by one criterion, the largest change first. */
export function ChangedRows({ pair, criteria, search, onChange }: ChangedRowsProps) {
  const chosen = criteria.find(({ name }) => name === search.criterion) ?? criteria[0];
  if (!chosen) return null;
  const change = search.change ?? "better";
  return (
    <Section
      title="Rows that changed"
      tools={
        <div className="flex flex-wrap items-center gap-2">
          {criteria.length > 1 && (
            <select
              aria-label="Criterion"
              className="field max-w-48"
              value={chosen.name}
              onChange={({ target }) => onChange({ criterion: target.value })}
            >
              {criteria.map(({ name }) => (
                <option key={name}>{name}</option>
              ))}
            </select>
          )}
          <div role="group" aria-label="Change" className="flex flex-wrap gap-1">
            {CHANGES.map((one) => (
              <button
                key={one}
                type="button"
                aria-pressed={one === change}
                className="button px-2.5 aria-pressed:border-accent aria-pressed:bg-tint aria-pressed:text-accent"
                onClick={() => onChange({ change: one === "worse" ? one : undefined })}
              >
                {one} {integer(chosen.rows[one])}
              </button>
            ))}
          </div>
        </div>
      }
    >
      <Rows key={`${chosen.name} ${change}`} pair={pair} criterion={chosen} change={change} />
    </Section>
  );
}

function Rows({ pair, criterion, change }: { pair: Pair; criterion: CriterionComparison; change: Change }) {
  const rows = useChangedRows(pair, criterion.name, change);
  return (
    <PagedList list={rows} empty={`No row became ${change}.`}>
      {(items) => (
        <ol>
          {items.map((row) => (
            <li key={row.id} className="grid gap-2 border-t border-line px-4 py-3">
              <RowScores row={row} />
              <RowTexts row={row} />
            </li>
          ))}
        </ol>
      )}
    </PagedList>
  );
}
