import { useMemo } from "react";

import { type Change, type Pair, useChangedRows } from "@/api/evals/comparisons";
import type { ChangedRow, CriterionComparison } from "@/api/types";
import type { EvalSearch } from "@/lib/addresses/evalSearch";
import { signed } from "@/lib/evals/evalWords";
import { answersOf, expectedOf, promptOf } from "@/lib/evals/rowTexts";
import { wordDifference } from "@/lib/evals/wordDifference";
import { integer, significant } from "@/lib/text/format";
import { Section } from "@/parts/page/Section";
import { PagedList } from "@/parts/tables/PagedList";

import { Words } from "./Words";

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
            <Row key={row.id} row={row} />
          ))}
        </ol>
      )}
    </PagedList>
  );
}

function Row({ row }: { row: ChangedRow }) {
  const [base, tuned] = answersOf(row);
  const [baseWords, tunedWords] = useMemo(() => wordDifference(base ?? "", tuned ?? ""), [base, tuned]);
  const name = `row ${integer(row.datasource_item_id + 1)}`;
  const expected = expectedOf(row.datasource_item);
  const scores = `${significant(row.base.result.score)} → ${significant(row.tuned.result.score)}`;
  return (
    <li className="grid gap-2 border-t border-line px-4 py-3">
      <p className="flex flex-wrap gap-x-3">
        <strong className="first-letter:uppercase">{name}</strong>
        <span>
          <span className="sr-only">Scores: </span>
          {scores}
        </span>
        <span className={row.change > 0 ? "text-good" : "text-bad"}>
          {signed(row.change)} {row.change > 0 ? "better" : "worse"}
        </span>
      </p>
      <div className="grid gap-3 md:grid-cols-2">
        <Words title={`Prompt of ${name}`} pieces={promptOf(row.datasource_item, row.base.sample)} />
        {expected !== null && <Words title={`Expected in ${name}`} pieces={expected} />}
        {base !== null && <Words title={`Base model on ${name}`} pieces={baseWords} />}
        {tuned !== null && <Words title={`Tuned model on ${name}`} pieces={tunedWords} tone="border-accent" />}
      </div>
    </li>
  );
}
