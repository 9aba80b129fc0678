import { useQuery } from "@tanstack/react-query";
import { useMemo } from "react";

import { fileQuery, previewQuery } from "@/api/files/files";
import { estimateQuery } from "@/api/jobs/estimate";
import { rowsOf } from "@/lib/datasets/datasetRows";
import { checkOf } from "@/lib/facts/fileFacts";
import { type Draft, type Offer, problemsOf, requestOf } from "@/lib/newJob/draft";
import { compact, duration, integer } from "@/lib/text/format";
import { RowView } from "@/pages/file/Preview";
import type { StepProps } from "@/pages/new/fields/stepProps";
import { useSettled } from "@/components/basics/useSettled";
import type { CreateJob, Estimate, FileObject } from "@/types/api";

const FIRST_ROWS = 3;

/** What is known of the chosen training file: its rows, the tokens, steps and time of the job, and the first rows. */
export function ChosenData({ draft, offer }: StepProps) {
  const { data: file } = useQuery({ ...fileQuery(draft.training_file), enabled: draft.training_file !== "" });
  const { data: estimate } = useEstimate(isEstimable(draft, offer) ? estimated(requestOf(draft, offer)) : null);
  if (!file || draft.training_file === "") return null;
  return (
    <div className="grid gap-3 rounded bg-sunken p-4">
      <dl aria-label="The training file" className="flex flex-wrap gap-x-8 gap-y-2">
        {factsOf(file, estimate).map(([name, value]) => (
          <div key={name}>
            <dt className="fact">{name}</dt>
            <dd className="font-semibold">{value}</dd>
          </div>
        ))}
      </dl>
      <FirstRows file={file} />
    </div>
  );
}

/** Returns whether the draft is whole and trains one adapter, so that the service can estimate it. */
function isEstimable(draft: Draft, offer: Offer): boolean {
  return !draft.tried && draft.options[draft.adapter]?.r !== "auto" && problemsOf(draft, offer).length === 0;
}

/** Returns the parts of a request on which its estimate depends. */
function estimated({ model, training_file, ...asked }: CreateJob): CreateJob {
  const { validation_file, validation_split, augmentation, method, adapter, training } = asked;
  return {
    model,
    training_file,
    ...(augmentation && { augmentation }),
    ...(validation_file != null && { validation_file }),
    ...(validation_split != null && { validation_split }),
    ...(method && { method }),
    ...(adapter && { adapter }),
    ...(training && { training }),
  };
}

/** The estimate of the request as it is once nobody types. */
function useEstimate(request: CreateJob | null) {
  const settled = useSettled(JSON.stringify(request));
  const asked = useMemo(() => JSON.parse(settled) as CreateJob | null, [settled]);
  return useQuery({ ...estimateQuery(asked ?? { model: "", training_file: "" }), enabled: asked !== null });
}

function factsOf(file: FileObject, estimate: Estimate | undefined): [string, string][] {
  const facts: [string, string][] = [["Rows", checkOf(file)]];
  if (!estimate) return facts;
  const { tokens, steps, devices } = estimate;
  facts.push(["Tokens to train on", `${tokens.exact ? "" : "about "}${compact(tokens.count)}`]);
  facts.push(["Steps", `${steps.exact ? "" : "about "}${integer(steps.count)}`]);
  const [device] = devices;
  if (device?.seconds) facts.push(["Time", timeWords(device.seconds)]);
  if (device?.fits === false) facts.push(["Memory", "does not fit this machine"]);
  return facts;
}

function timeWords({ least, most }: { least: number; most: number }): string {
  const [from, to] = [duration(least), duration(most)];
  return from === to ? `about ${from}` : `${from} to ${to}`;
}

function FirstRows({ file }: { file: FileObject }) {
  const { data: preview } = useQuery(previewQuery(file));
  const rows = useMemo(() => (preview ? rowsOf(preview.text, preview.isWhole, FIRST_ROWS) : []), [preview]);
  if (!rows.length) return null;
  return (
    <details>
      <summary className="cursor-pointer font-medium">The first {rows.length} rows</summary>
      <ol className="mt-2 grid gap-3">
        {rows.map((row, at) => (
          <li key={at} className="card p-3">
            <RowView row={row} />
          </li>
        ))}
      </ol>
    </details>
  );
}
