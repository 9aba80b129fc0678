import type { ChartSpec } from "@/lib/charts";
import { integer } from "@/lib/format";

const MOST_ROWS = 200;

interface ValuesTableProps {
  title: string;
  columns: readonly { key: string; label: string }[];
  /** The step first, then each column's value; NaN for none. Oldest first. */
  rows: readonly number[][];
  format: ChartSpec["format"];
}

/** The last steps, newest first. All of them are in the CSV. */
export function ValuesTable({ title, columns, rows, format }: ValuesTableProps) {
  const shown = rows.slice(-MOST_ROWS).reverse();
  return (
    <div className="h-full overflow-auto" tabIndex={0} role="region" aria-label={`${title}, values`}>
      <table className="data-table">
        {rows.length > MOST_ROWS && (
          <caption className="fact px-3 pb-1 text-left">
            The last {MOST_ROWS} of {integer(rows.length)} steps here; the CSV has all.
          </caption>
        )}
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
  );
}
