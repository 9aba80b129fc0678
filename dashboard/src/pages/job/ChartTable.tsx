import type { ChartSpec } from "@/lib/charts";
import { integer, significant } from "@/lib/format";
import type { Series } from "@/lib/series";

const MOST_ROWS = 200;

/** The values of each step from the place `from` on: the step first, then each column's; NaN for none. */
export function chartRows(series: Series, spec: ChartSpec, from: number): number[][] {
  const columns = [series.steps, ...spec.columns.map(({ name }) => series.column(name))];
  const rows: number[][] = [];
  for (let at = from; at < series.length; at += 1) rows.push(columns.map((column) => column?.[at] ?? NaN));
  return rows;
}

/** The last steps, newest first. All of them are in the CSV. */
export function ChartTable({ spec, series }: { spec: ChartSpec; series: Series }) {
  const rows = chartRows(series, spec, Math.max(0, series.length - MOST_ROWS)).reverse();
  return (
    <div className="h-full overflow-auto" tabIndex={0} role="region" aria-label={`${spec.title}, values`}>
      <table className="data-table">
        {series.length > MOST_ROWS && (
          <caption className="fact px-3 pb-1 text-left">
            The last {MOST_ROWS} of {integer(series.length)} steps; the CSV has all.
          </caption>
        )}
        <thead className="sticky top-0">
          <tr>
            <th scope="col">step</th>
            {spec.columns.map(({ name, label }) => (
              <th key={name} scope="col" className="number">
                {label}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map(([step, ...values]) => (
            <tr key={step}>
              <td>{integer(step)}</td>
              {values.map((value, at) => (
                <td key={spec.columns[at]?.name} className="number">
                  {significant(value)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
