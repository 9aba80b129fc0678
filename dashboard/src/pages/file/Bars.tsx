import type { Bar } from "@/lib/datasets/checkFacts";
import { counted } from "@/lib/text/format";

/** A picture of numbers of rows: a name, a bar and the number for each. The words alone say the same. */
export function Bars({ title, bars }: { title: string; bars: readonly Bar[] }) {
  if (!bars.length) return null;
  return (
    <figure className="min-w-0">
      <figcaption className="mb-1 font-medium">{title}</figcaption>
      <dl className="grid grid-cols-[minmax(6rem,auto)_1fr_auto] items-center gap-x-3 gap-y-0.5 text-xs">
        {bars.map(({ name, rows, share }) => (
          <div key={name} className="contents">
            <dt className="max-w-56 truncate text-muted" title={name}>
              {name}
            </dt>
            <dd aria-hidden="true" className="h-2.5 min-w-12 bg-sunken">
              <span className="block h-full bg-accent" style={{ width: `${100 * share}%` }} />
            </dd>
            <dd className="text-right">{counted(rows, "row")}</dd>
          </div>
        ))}
      </dl>
    </figure>
  );
}
