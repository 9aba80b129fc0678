import { useState } from "react";

import type { ChartSpec } from "@/lib/charts/chartSpecs";
import { integer } from "@/lib/text/format";
import type { Column } from "@/components/tables/columns";
import { DataTable } from "@/components/tables/DataTable";

const PAGE = 200; // rows

interface ValuesTableProps {
  title: string;
  columns: readonly { key: string; label: string }[];
  /** The rows that are drawn, oldest first: the step, then the value of each column. NaN means no value. */
  rows: readonly number[][];
  /** Whether there are steps in between that were not read. */
  isThinned: boolean;
  format: ChartSpec["format"];
}

/** The values of the steps that are drawn, newest first, page by page. */
export function ValuesTable({ title, columns, rows, isThinned, format }: ValuesTableProps) {
  const [chosen, setChosen] = useState(0);
  const last = Math.max(0, Math.ceil(rows.length / PAGE) - 1);
  const page = Math.min(chosen, last);
  const end = rows.length - page * PAGE;
  const shown = rows.slice(Math.max(0, end - PAGE), end).reverse();
  const values = columns.map(
    ({ key, label }, at): Column<number[]> => ({
      name: key,
      head: label,
      align: "right",
      cell: (row) => format(row[at + 1]),
    }),
  );
  return (
    <div className="flex h-full flex-col">
      <div className="flex flex-wrap items-center gap-x-3 px-3 pb-1">
        <span className="fact">
          {summary(shown, rows.length)}
          {isThinned && "; thinned, the CSV has all"}
        </span>
        {last > 0 && (
          <span className="ml-auto flex gap-2">
            <PageButton words={`Earlier values of ${title}`} to={page + 1} last={last} onPage={setChosen} />
            <PageButton words={`Later values of ${title}`} to={page - 1} last={last} onPage={setChosen} />
          </span>
        )}
      </div>
      <DataTable
        columns={[{ name: "step", cell: ([step]) => integer(step) }, ...values]}
        rows={shown}
        keyOf={([step = NaN]) => step}
        region={{ label: `${title}, values`, className: "min-h-0 flex-1 overflow-auto", stickyHead: true }}
      />
    </div>
  );
}

interface PageButtonProps {
  words: string;
  to: number;
  last: number;
  onPage: (page: number) => void;
}

/** Goes to another page. If there is no such page, the button does nothing but keeps the focus. */
function PageButton({ words, to, last, onPage }: PageButtonProps) {
  const [word, ...rest] = words.split(" ");
  const exists = to >= 0 && to <= last;
  return (
    <button
      type="button"
      className="link px-1 aria-disabled:opacity-55"
      aria-disabled={!exists}
      onClick={() => exists && onPage(to)}
    >
      {word}
      <span className="sr-only"> {rest.join(" ")}</span>
    </button>
  );
}

function summary(shown: readonly number[][], all: number): string {
  if (!shown.length) return "No step in this part";
  return `Steps ${integer(shown.at(-1)?.[0])} to ${integer(shown[0]?.[0])}: ${integer(shown.length)} of ${integer(all)} in this part`;
}
