import { integer, significant } from "@/lib/format";
import { type Run, type RunChart, runRows } from "@/lib/runs";

const MOST_ROWS = 200;

/** The last steps, newest first. All of them are in the CSV. */
export function RunTable({ chart, runs }: { chart: RunChart; runs: readonly Run[] }) {
  const all = runRows(runs, chart.column.name);
  const rows = all.slice(-MOST_ROWS).reverse();
  return (
    <div className="h-full overflow-auto" tabIndex={0} role="region" aria-label={`${chart.title}, values`}>
      <table className="data-table">
        {all.length > MOST_ROWS && (
          <caption className="fact px-3 pb-1 text-left">
            The last {MOST_ROWS} of {integer(all.length)} steps; the CSV has all.
          </caption>
        )}
        <thead className="sticky top-0">
          <tr>
            <th scope="col">step</th>
            {runs.map(({ id, name }) => (
              <th key={id} scope="col" className="number">
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map(([step, ...values]) => (
            <tr key={step}>
              <td>{integer(step)}</td>
              {values.map((value, at) => (
                <td key={runs[at]?.id} className="number">
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
