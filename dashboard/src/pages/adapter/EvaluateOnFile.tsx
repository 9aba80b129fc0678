import { useQuery } from "@tanstack/react-query";
import { useState } from "react";

import { useEvaluate } from "@/api/evals/judged";
import { jobQuery } from "@/api/jobs/jobs";
import { datasetsQuery } from "@/api/jobs/offers";
import type { Adapter, FileObject } from "@/api/types";
import { criteriaOfRows } from "@/lib/evals/chosenRuns";
import { counted } from "@/lib/text/format";
import { Loaded } from "@/parts/page/Loaded";
import { Failure } from "@/parts/page/Notice";

const MOST_ROWS = 100_000;

/** Judges the base model and the adapter on a file that the user chooses. The job's validation file is chosen first. */
export function EvaluateOnFile({ adapter }: { adapter: Adapter }) {
  const { job_id, job_deleted } = adapter;
  const job = useQuery({ ...jobQuery(job_id ?? ""), enabled: job_id !== null && !job_deleted, refetchInterval: false });
  const files = useQuery(datasetsQuery);
  return (
    <Loaded query={files}>
      {(all) => <Form key={job.data?.id} adapter={adapter} files={all} usual={job.data?.validation_file ?? ""} />}
    </Loaded>
  );
}

function Form({ adapter, files, usual }: { adapter: Adapter; files: readonly FileObject[]; usual: string }) {
  const evaluate = useEvaluate();
  const [fileId, setFileId] = useState(usual);
  const [rows, setRows] = useState("");
  const file = files.find(({ id }) => id === fileId);
  if (!files.length) {
    return <p className="px-4 pb-4 text-muted">There is no file with rows to judge it on. Upload one under Files.</p>;
  }
  const start = () => {
    if (!file) return;
    evaluate.mutate({
      name: `Evaluation of ${adapter.model}`,
      base: adapter.base_model,
      tuned: adapter.model,
      criteria: criteriaOfRows(file.kind ?? "chat"),
      file: file.id,
      ...(rows !== "" && { rows: Number(rows) }),
    });
  };
  return (
    <form
      className="grid gap-3 px-4 pb-4"
      onSubmit={(event) => {
        event.preventDefault();
        start();
      }}
    >
      <div className="flex flex-wrap items-end gap-3">
        <label className="grid min-w-0 gap-1">
          <span className="fact">File, with rows that it was not trained on</span>
          <select className="field max-w-80" required value={file?.id ?? ""} onChange={({ target }) => setFileId(target.value)}>
            <option value="">Choose a file</option>
            {files.map((one) => (
              <option key={one.id} value={one.id}>
                {one.filename}
                {one.rows != null && ` · ${counted(one.rows, "row")}`}
              </option>
            ))}
          </select>
        </label>
        <label className="grid gap-1">
          <span className="fact">Rows (empty: all)</span>
          <input
            className="field w-32"
            type="number"
            min={1}
            max={MOST_ROWS}
            value={rows}
            onChange={({ target }) => setRows(target.value)}
          />
        </label>
        <button type="submit" className="button" disabled={evaluate.isPending}>
          {evaluate.isPending ? "Starting…" : "Evaluate"}
        </button>
      </div>
      {evaluate.error && <Failure asked error={evaluate.error} />}
    </form>
  );
}
