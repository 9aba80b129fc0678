import { useState } from "react";

import { csv, save } from "@/lib/csv";
import type { Axis } from "@/lib/curveSearch";
import { integer, significant } from "@/lib/format";
import { overlaid, type Run, type RunChart, runRows } from "@/lib/runs";
import { Chart } from "@/parts/Chart";

import { RunLegend } from "./RunLegend";
import { RunTable } from "./RunTable";

interface RunCardProps {
  chart: RunChart;
  runs: readonly Run[];
  version: string;
  fileName: string;
  log: boolean;
  smoothing: number;
  axis: Axis;
}

/** A chart of all runs with its values in words, as a table, and as a CSV. */
export function RunCard({ chart, runs, version, fileName, log, smoothing, axis }: RunCardProps) {
  const [hovered, setHovered] = useState<number | null>(null);
  const [zoom, setZoom] = useState<[number, number] | null>(null);
  const [asTable, setAsTable] = useState(false);
  const { column, title } = chart;
  const download = () => {
    const head = ["step", ...runs.map(({ id }) => id)];
    save(`${fileName}-${column.name}.csv`, csv(head, runRows(runs, column.name)));
  };
  return (
    <figure className="card flex min-w-0 flex-col">
      <figcaption className="flex flex-wrap items-center gap-x-3 px-3 pt-2">
        <h3 className="font-medium">{title}</h3>
        <span className="fact">
          {hovered !== null && `${axis} ${axis === "step" ? integer(hovered) : significant(hovered)}`}
        </span>
        <span className="ml-auto flex gap-1">
          {zoom && (
            <button type="button" className="link px-1" onClick={() => setZoom(null)}>
              Whole run
            </button>
          )}
          <button type="button" className="link px-1" aria-pressed={asTable} onClick={() => setAsTable(!asTable)}>
            Table<span className="sr-only"> of {title}</span>
          </button>
          <button type="button" className="link px-1" onClick={download}>
            CSV<span className="sr-only"> of {title}</span>
          </button>
        </span>
      </figcaption>
      <RunLegend chart={chart} runs={runs} axis={axis} hovered={hovered} />
      <div className="h-60 px-1 pb-1">
        {asTable ? (
          <RunTable chart={chart} runs={runs} />
        ) : (
          <div role="img" aria-label={`${title} by ${axis}; its values are in the table`} className="h-full">
            <Chart
              key={axis}
              {...{ version, log, smoothing, zoom }}
              stepsPerX={1}
              drawn={runs.map(({ id, place }) => ({ name: id, dense: column.dense, place }))}
              linesOf={(view) => overlaid(runs, column, axis, view)}
              onZoom={setZoom}
              onHover={(values) => setHovered(values?.[0] ?? null)}
            />
          </div>
        )}
      </div>
    </figure>
  );
}
