import { CutName } from "@/components/basics/CutName";

import { LineSample } from "./LineSample";

interface LegendEntry {
  key: string;
  label: string;
  /** It decides the colour and the dashes of the line. */
  styleIndex: number;
  value: string;
}

/** The lines of a chart: for each a sample, its name and a value. */
export function Legend({ entries }: { entries: readonly LegendEntry[] }) {
  return (
    <dl className="flex flex-wrap gap-x-4 px-3 py-1 text-xs">
      {entries.map(({ key, label, styleIndex, value }) => (
        <div key={key} className="flex min-w-0 items-center gap-1.5">
          <dt className="flex min-w-0 items-center gap-1.5 text-muted">
            <LineSample styleIndex={styleIndex} />
            <span className="max-w-64">
              <CutName name={label} />
            </span>
          </dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}
