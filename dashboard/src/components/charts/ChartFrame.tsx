import { useMutation } from "@tanstack/react-query";
import { type ReactNode, useState } from "react";

import { saveFile } from "@/lib/browser/saveFile";
import { type Steps, xInWords } from "@/lib/charts/axes";
import { stepsInside } from "@/lib/charts/zoom";
import { saveCsv } from "@/lib/text/csv";
import { Failure } from "@/components/page/Notice";

import { chartPng } from "./chartPicture";
import type { Plot } from "./plot";
import { ValuesTable } from "./ValuesTable";

interface ChartFrameProps {
  title: string;
  plot: Plot;
  /** The columns of table and CSV: the key is the name in the CSV, the label is shown on the screen. */
  columns: readonly { key: string; label: string }[];
  /** Computes all values when they are needed: rows of the step and the value of each column. */
  rows: () => number[][];
  /** The trainings that are drawn. A thinned training is read in full before its values are saved. */
  trainings: readonly Steps[];
  fileName: string;
  /** The x under the pointer. */
  hovered: number | null;
  legend: ReactNode;
  className?: string;
  /** The chart. */
  children: ReactNode;
}

/** The frame of a chart: title, legend, and buttons for its values as a table or a CSV and for a PNG. */
export function ChartFrame(props: ChartFrameProps) {
  const { title, plot, columns, rows, trainings, fileName, hovered, legend, className = "", children } = props;
  const { axis, format, zoom } = plot;
  const [isTable, setTable] = useState(false);
  const download = useMutation({
    mutationFn: async () => {
      await Promise.all(trainings.map(({ series }) => series.leftOut?.readAll()));
      saveCsv(`${fileName}.csv`, ["step", ...columns.map(({ key }) => key)], rows());
    },
  });
  const paint = useMutation({ mutationFn: async () => saveFile(`${fileName}.png`, await chartPng(title, plot)) });
  const failure = download.error ?? paint.error;
  const drawnRows = () => {
    const part = zoom && stepsInside(trainings, axis, zoom);
    return zoom ? rows().filter(([step = NaN]) => part && step >= part[0] && step <= part[1]) : rows();
  };
  return (
    <figure className={`card flex min-w-0 flex-col ${className}`}>
      <figcaption className="flex flex-wrap items-baseline gap-x-3 px-3 pt-2">
        <h3>{title}</h3>
        <span className="fact">
          {hovered !== null && xInWords(axis, hovered)}
        </span>
        <span className="ml-auto flex gap-1">
          <button type="button" className="link-quiet px-1" aria-pressed={isTable} onClick={() => setTable(!isTable)}>
            Table<span className="sr-only"> of {title}</span>
          </button>
          <button type="button" className="link-quiet px-1" disabled={download.isPending} onClick={() => download.mutate()}>
            {download.isPending ? "Reading…" : "CSV"}
            <span className="sr-only"> of {title}</span>
          </button>
          <button type="button" className="link-quiet px-1" disabled={paint.isPending} onClick={() => paint.mutate()}>
            PNG<span className="sr-only"> of {title}</span>
          </button>
        </span>
      </figcaption>
      {failure && <Failure error={failure} asked />}
      {legend}
      <div className="h-52 px-1 pb-1">
        {isTable ? (
          <ValuesTable
            key={`${axis} ${zoom}`}
            {...{ title, columns, format }}
            rows={drawnRows()}
            isThinned={trainings.some(({ series }) => series.leftOut)}
          />
        ) : (
          <div role="img" aria-label={`${title} by ${axis}; its values are in the table`} className="h-full">
            {children}
          </div>
        )}
      </div>
    </figure>
  );
}
