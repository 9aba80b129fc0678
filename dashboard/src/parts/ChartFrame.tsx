import { type ReactNode, useState } from "react";

import { saveCsv } from "@/lib/csv";
import { save } from "@/lib/save";
import { toldX } from "@/lib/axes";

import { chartPng } from "./chartPicture";
import type { Plot } from "./plot";
import { ValuesTable } from "./ValuesTable";

interface ChartFrameProps {
  title: string;
  plot: Plot;
  /** Of tables and files: a name in the CSV, a label on the screen. */
  columns: readonly { key: string; label: string }[];
  /** All values, computed when somebody wants them: the step first, then each column's. */
  rows: () => number[][];
  fileName: string;
  /** The x under the pointer. */
  hovered: number | null;
  legend: ReactNode;
  zoomed: boolean;
  onUnzoom: () => void;
  className?: string;
  /** The chart. */
  children: ReactNode;
}

/** Around a chart: its title and legend, and its values as a table and as a CSV, and itself as a PNG. */
export function ChartFrame(props: ChartFrameProps) {
  const { title, plot, columns, rows, fileName, hovered, legend, zoomed, onUnzoom, className = "", children } = props;
  const { axis, format } = plot;
  const [asTable, setAsTable] = useState(false);
  const download = () => saveCsv(`${fileName}.csv`, ["step", ...columns.map(({ key }) => key)], rows());
  const paint = async () => save(`${fileName}.png`, await chartPng(title, plot));
  return (
    <figure className={`card flex min-w-0 flex-col ${className}`}>
      <figcaption className="flex flex-wrap items-center gap-x-3 px-3 pt-2">
        <h3 className="font-medium">{title}</h3>
        <span className="fact">
          {hovered !== null && toldX(axis, hovered)}
        </span>
        <span className="ml-auto flex gap-1">
          {zoomed && (
            <button type="button" className="link px-1" onClick={onUnzoom}>
              Whole run
            </button>
          )}
          <button type="button" className="link px-1" aria-pressed={asTable} onClick={() => setAsTable(!asTable)}>
            Table<span className="sr-only"> of {title}</span>
          </button>
          <button type="button" className="link px-1" onClick={download}>
            CSV<span className="sr-only"> of {title}</span>
          </button>
          <button type="button" className="link px-1" onClick={() => void paint()}>
            PNG<span className="sr-only"> of {title}</span>
          </button>
        </span>
      </figcaption>
      {legend}
      <div className="h-52 px-1 pb-1">
        {asTable ? (
          <ValuesTable {...{ title, columns, format }} rows={rows()} />
        ) : (
          <div role="img" aria-label={`${title} by ${axis}; its values are in the table`} className="h-full">
            {children}
          </div>
        )}
      </div>
    </figure>
  );
}
