import { useState } from "react";

import { linesOf } from "@/lib/chartData";
import type { ChartSpec } from "@/lib/charts";
import { csv, save } from "@/lib/csv";
import type { Axis } from "@/lib/curveSearch";
import { integer, significant } from "@/lib/format";
import type { Series } from "@/lib/series";
import { Chart } from "@/parts/Chart";

import { ChartLegend } from "./ChartLegend";
import { chartRows, ChartTable } from "./ChartTable";

interface ChartCardProps {
  spec: ChartSpec;
  series: Series;
  version: number;
  jobId: string;
  log: boolean;
  smoothing: number;
  axis: Axis;
  stepsPerX: number;
}

/** A chart with its values in words: those under the pointer, else the last and the best ones. */
export function ChartCard({ spec, series, version, jobId, log, smoothing, axis, stepsPerX }: ChartCardProps) {
  const [hovered, setHovered] = useState<(number | null)[] | null>(null);
  const [zoom, setZoom] = useState<[number, number] | null>(null);
  const [asTable, setAsTable] = useState(false);
  const download = () => {
    const head = ["step", ...spec.columns.map(({ name }) => name)];
    save(`${jobId}-${spec.measure}.csv`, csv(head, chartRows(series, spec, 0)));
  };
  const wide = spec.measure === "loss" ? "lg:col-span-2" : "";
  const x = hovered?.[0];
  return (
    <figure className={`card flex min-w-0 flex-col ${wide}`}>
      <figcaption className="flex flex-wrap items-center gap-x-3 px-3 pt-2">
        <h3 className="font-medium">{spec.title}</h3>
        <span className="fact">
          {x != null && `${axis} ${axis === "step" ? integer(x) : significant(x)}`}
        </span>
        <span className="ml-auto flex gap-1">
          {zoom && (
            <button type="button" className="link px-1" onClick={() => setZoom(null)}>
              Whole run
            </button>
          )}
          <button type="button" className="link px-1" aria-pressed={asTable} onClick={() => setAsTable(!asTable)}>
            Table<span className="sr-only"> of {spec.title}</span>
          </button>
          <button type="button" className="link px-1" onClick={download}>
            CSV<span className="sr-only"> of {spec.title}</span>
          </button>
        </span>
      </figcaption>
      <ChartLegend spec={spec} series={series} hovered={hovered?.slice(1) ?? null} />
      <div className="h-52 px-1 pb-1">
        {asTable ? (
          <ChartTable spec={spec} series={series} />
        ) : (
          <div role="img" aria-label={`${spec.title} by ${axis}; its values are in the table`} className="h-full">
            <Chart
              key={axis}
              {...{ version, log, smoothing, stepsPerX, zoom }}
              drawn={spec.columns.map(({ name, dense }, place) => ({ name, dense, place }))}
              linesOf={(view) => linesOf(series, spec, view)}
              onZoom={setZoom}
              onHover={setHovered}
            />
          </div>
        )}
      </div>
    </figure>
  );
}
