import { useQuery } from "@tanstack/react-query";

import { useEvaluate } from "@/api/evals/judged";
import { jobQuery } from "@/api/jobs/jobs";
import { datasetsQuery } from "@/api/jobs/offers";
import { criteriaOfRows } from "@/lib/evals/chosenRuns";
import { counted } from "@/lib/text/format";
import { DataForm } from "@/components/forms/DataForm";
import type { Field } from "@/components/forms/Fields";
import { Loaded } from "@/components/page/Loaded";
import type { Adapter, FileObject } from "@/types/api";

const MOST_ROWS = 100_000;

/** Judges the base model and the adapter on a file that the user chooses. The job's validation file is chosen first. */
export function EvaluateOnFile({ adapter }: { adapter: Adapter }) {
  const { job_id, job_deleted } = adapter;
  const job = useQuery({ ...jobQuery(job_id ?? ""), enabled: job_id !== null && !job_deleted, refetchInterval: false });
  const files = useQuery(datasetsQuery);
  return (
    <Loaded query={files}>
      {(all) => <Form key={job.data?.id} adapter={adapter} files={all.filter(({ kind }) => criteriaOfRows(kind ?? "chat").length)} usual={job.data?.validation_file ?? ""} />}
    </Loaded>
  );
}

function Form({ adapter, files, usual }: { adapter: Adapter; files: readonly FileObject[]; usual: string }) {
  const evaluate = useEvaluate();
  if (!files.length) {
    return <p className="px-4 pb-4 text-muted">There is no file with rows to judge it on. Upload one under Files.</p>;
  }
  const start = ({ file, rows }: Record<Name, string>) =>
    evaluate.mutate({
      name: `Evaluation of ${adapter.model}`,
      base: adapter.base_model,
      tuned: adapter.model,
      criteria: criteriaOfRows(files.find(({ id }) => id === file)?.kind ?? "chat"),
      file,
      ...(rows !== "" && { rows: Number(rows) }),
    });
  return (
    <DataForm
      fields={fieldsOf(files, usual)}
      action={evaluate.isPending ? "Starting…" : "Evaluate"}
      mutation={evaluate}
      onSubmit={start}
    />
  );
}

type Name = "file" | "rows";

const fieldsOf = (files: readonly FileObject[], usual: string): readonly Field<Name>[] => [
  {
    name: "file",
    label: "File, with rows that it was not trained on",
    className: "max-w-80",
    options: [["", "Choose a file"], ...files.map((file) => [file.id, fileWords(file)] as const)],
    initial: files.some(({ id }) => id === usual) ? usual : "",
  },
  { name: "rows", label: "Rows (empty: all)", className: "w-32", type: "number", min: 1, max: MOST_ROWS, isOptional: true },
];

const fileWords = ({ filename, rows }: FileObject) => (rows == null ? filename : `${filename} · ${counted(rows, "row")}`);
