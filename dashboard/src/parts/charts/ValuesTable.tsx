import { useState } from "react";

import type { ChartSpec } from "@/lib/charts/chartSpecs";
import { integer } from "@/lib/text/format";

const PAGE = 200; // rows

interface ValuesTableProps {
  title: string;
  columns: readonly { key: string; label: string }[];
  /** Those that are drawn: the step first, then each column's value; NaN for none. Oldest first. */
  rows: readonly number[][];
  /** Whether there are steps in between that were not read. */
  thinned: boolean;
  format: ChartSpec["format"];
}

/** The steps that are drawn, newest first, page by page. */
export function ValuesTable({ title, columns, rows, thinned, format }: ValuesTableProps) {
  const [turned, setTurned] = useState(0);
  const last = Math.max(0, Math.ceil(rows.length / PAGE) - 1);
  const page = Math.min(turned, last);
  const end = rows.length - page * PAGE;
  const shown = rows.slice(Math.max(0, end - PAGE), end).reverse();
  return (
    <div className="flex h-full flex-col">
      <div className="flex flex-wrap items-center gap-x-3 px-3 pb-1">
        <span className="fact">
          {told(shown, rows.length)}
          {thinned && "; thinned, the CSV has all"}
        </span>
        {last > 0 && (
          <span className="ml-auto flex gap-2">
            <Turn words={`Earlier values of ${title}`} to={page + 1} last={last} onTurn={setTurned} />
            <Turn words={`Later values of ${title}`} to={page - 1} last={last} onTurn={setTurned} />
          </span>
        )}
      </div>
      <div className="min-h-0 flex-1 overflow-auto" tabIndex={0} role="region" aria-label={`${title}, values`}>
        <table className="data-table">
          <thead className="sticky top-0">
            <tr>
              <th scope="col">step</th>
              {columns.map(({ key, label }) => (
                <th key={key} scope="col" className="number">
                  {label}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {shown.map(([step, ...values]) => (
              <tr key={step}>
                <td>{integer(step)}</td>
                {values.map((value, at) => (
                  <td key={columns[at]?.key} className="number">
                    {format(value)}
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </div>
  );
}

interface TurnProps {
  words: string;
  to: number;
  last: number;
  onTurn: (page: number) => void;
}

/** It keeps the focus where there is no such page. */
function Turn({ words, to, last, onTurn }: TurnProps) {
  const [word, ...rest] = words.split(" ");
  const is = to >= 0 && to <= last;
  return (
    <button type="button" className="link px-1 aria-disabled:opacity-55" aria-disabled={!is} onClick={() => is && onTurn(to)}>
      {word}
      <span className="sr-only"> {rest.join(" ")}</span>
    </button>
  );
}

function told(shown: readonly number[][], all: number): string {
  if (!shown.length) return "No step in this part";
  return `Steps ${integer(shown.at(-1)?.[0])} to ${integer(shown[0]?.[0])}: ${integer(shown.length)} of ${integer(all)} in this part`;
}
