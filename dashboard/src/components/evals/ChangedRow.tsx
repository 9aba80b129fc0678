import { useMemo } from "react";

import { signed } from "@/lib/evals/evalWords";
import { answersOf, expectedOf, promptOf } from "@/lib/evals/rowTexts";
import { wordDifference } from "@/lib/evals/wordDifference";
import { integer, significant } from "@/lib/text/format";
import type { ChangedRow } from "@/types/api";

import { Words } from "./Words";

const nameOf = (row: ChangedRow): string => `row ${integer(row.datasource_item_id + 1)}`;

/** Which row it is, both scores, and by how much the tuned model is better or worse. */
export function RowScores({ row }: { row: ChangedRow }) {
  return (
    <span className="inline-flex flex-wrap gap-x-3">
      <strong className="first-letter:uppercase">{nameOf(row)}</strong>
      <span>
        <span className="sr-only">Scores: </span>
        {`${significant(row.base.result.score)} → ${significant(row.tuned.result.score)}`}
      </span>
      <span className={row.change > 0 ? "text-good" : "text-bad"}>
        {signed(row.change)} {row.change > 0 ? "better" : "worse"}
      </span>
    </span>
  );
}

/** What was asked and expected, and what both models wrote. Marked are the words in which they differ. */
export function RowTexts({ row }: { row: ChangedRow }) {
  const [base, tuned] = answersOf(row);
  const [baseWords, tunedWords] = useMemo(() => wordDifference(base ?? "", tuned ?? ""), [base, tuned]);
  const name = nameOf(row);
  const expected = expectedOf(row.datasource_item);
  return (
    <div className="grid gap-3 md:grid-cols-2">
      <Words title={`Prompt of ${name}`} pieces={promptOf(row.datasource_item, row.base.sample)} />
      {expected !== null && <Words title={`Expected in ${name}`} pieces={expected} />}
      {base !== null && <Words title={`Base model on ${name}`} pieces={baseWords} />}
      {tuned !== null && <Words title={`Tuned model on ${name}`} pieces={tunedWords} tone="border-accent" />}
    </div>
  );
}
