import type { Axis } from "@/lib/charts/axes";
import { type Training, trainingCharts } from "@/lib/charts/trainings";
import { ThinnedNote } from "@/components/charts/ThinnedNote";
import { useZoom } from "@/components/charts/useZoom";
import { ZoomControls } from "@/components/charts/ZoomControls";
import { Empty } from "@/components/page/Empty";

import { TrainingCard } from "./TrainingCard";

/** The columns whose charts are shown at first. */
const USUAL = ["train_loss", "full_valid_loss", "train_mean_reward", "full_valid_mean_reward", "train_mean_reverse_kl", "full_valid_mean_reverse_kl"];

interface TrainingCurvesProps {
  trainings: readonly Training[];
  /** Changes with each change of the trainings' values. */
  version: string;
  /** The columns of the metrics whose charts are shown; null for the usual columns. */
  shown: readonly string[] | null;
  onShow: (shown: string[]) => void;
  fileName: string;
  log: boolean;
  smoothing: number;
  axis: Axis;
}

/** The curves of several trainings over each other: a chart for each chosen column of the metrics. */
export function TrainingCurves({ trainings, version, shown, onShow, ...rest }: TrainingCurvesProps) {
  const zooming = useZoom(rest.axis, trainings);
  const charts = trainingCharts(trainings);
  const wanted = new Set(shown ?? USUAL);
  const toggle = (name: string, on: boolean) =>
    onShow(charts.map(({ column }) => column.name).filter((one) => (one === name ? on : wanted.has(one))));
  if (!charts.length) return <Empty>The curves begin with the first step.</Empty>;
  return (
    <>
      <fieldset className="flex flex-wrap gap-x-4 gap-y-1">
        <legend className="sr-only">Charts</legend>
        {charts.map(({ column: { name }, title }) => (
          <label key={name} className="flex items-center gap-1.5">
            <input type="checkbox" checked={wanted.has(name)} onChange={(event) => toggle(name, event.target.checked)} />
            {title}
          </label>
        ))}
      </fieldset>
      <ZoomControls {...{ zooming, trainings }} axis={rest.axis} />
      <ThinnedNote series={trainings.map(({ series }) => series)} />
      <div className="grid gap-3 lg:grid-cols-2">
        {charts
          .filter(({ column }) => wanted.has(column.name))
          .map((chart) => (
            <TrainingCard key={chart.column.name} {...{ chart, trainings, version, zooming }} {...rest} />
          ))}
      </div>
    </>
  );
}
