import type { Bar } from "@/lib/datasets/checkFacts";
import { counted } from "@/lib/text/format";

/** A picture of how many rows have how many tokens. A table below it has the numbers, for those who ask. */
export function Histogram({ title, bars }: { title: string; bars: readonly Bar[] }) {
  const [first, last] = [bars[0], bars.at(-1)];
  if (!first || !last) return null;
  return (
    <figure className="min-w-0">
      <figcaption className="mb-1 font-medium">{title}</figcaption>
      <div role="img" aria-label={`${title}: from ${first.name} to ${last.name}`} className="flex h-24 items-end gap-px border-b border-line">
        {bars.map(({ name, rows, share }) => (
          <span
            key={name}
            title={`${name}: ${counted(rows, "row")}`}
            className="min-w-px flex-1 bg-accent"
            style={{ height: rows ? `max(2px, ${100 * share}%)` : 0 }}
          />
        ))}
      </div>
      <p className="fact flex justify-between">
        <span>{first.name}</span>
        <span>{last.name}</span>
      </p>
      <details className="mt-1 text-xs">
        <summary className="link cursor-pointer">Table of lengths</summary>
        <table className="data-table">
          <thead>
            <tr>
              <th scope="col">Length</th>
              <th scope="col" className="number">Rows</th>
            </tr>
          </thead>
          <tbody>
            {bars.filter(({ rows }) => rows > 0).map(({ name, rows }) => (
              <tr key={name}>
                <td>{name}</td>
                <td className="number">{rows}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </details>
    </figure>
  );
}
