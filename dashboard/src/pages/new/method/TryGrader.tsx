import { useQuery } from "@tanstack/react-query";
import { useId, useState } from "react";

import { fileQuery, previewQuery } from "@/api/files/files";
import { useTryGrader } from "@/api/jobs/graders";
import { firstItem } from "@/lib/datasets/datasetRows";
import { runWords } from "@/lib/newJob/graderExamples";
import { readJson, writeJson } from "@/lib/schemas/jsonOption";
import { Failure } from "@/components/page/Notice";
import type { Grader } from "@/types/api";

const NO_FILE = { id: "", bytes: 0 };

/** Grades an answer that the author writes, for the first row of the training file or another row. */
export function TryGrader({ grader, trainingFile }: { grader: Grader; trainingFile: string }) {
  const [answer, setAnswer] = useState("");
  const [written, setWritten] = useState<string | null>(null);
  const first = useFirstItem(trainingFile);
  const item = written ?? writeJson(first);
  const run = useTryGrader();
  return (
    <details className="rounded border border-line px-3 py-2">
      <summary className="cursor-pointer font-medium">Try it on one row</summary>
      <div className="grid gap-3 pt-3">
        <div className="grid gap-3 sm:grid-cols-2">
          <Text label="Answer" value={answer} onChange={setAnswer} />
          <Text label="Row, as JSON" value={item} onChange={setWritten} />
        </div>
        <div className="flex flex-wrap items-center gap-3">
          <button
            type="button"
            className="button"
            disabled={run.isPending}
            onClick={() => run.mutate({ grader, model_sample: answer, item: readJson(item) })}
          >
            {run.isPending ? "Grading…" : "Grade"}
          </button>
          <p aria-live="polite">{run.data && !run.isPending && runWords(run.data)}</p>
        </div>
        {run.error && <Failure asked error={run.error} />}
      </div>
    </details>
  );
}

/** The first row of a file; undefined while it is not known. */
function useFirstItem(id: string): unknown {
  const { data: file } = useQuery({ ...fileQuery(id), enabled: id !== "" });
  const { data: preview } = useQuery({ ...previewQuery(file ?? NO_FILE), enabled: file !== undefined });
  return preview && firstItem(preview.text);
}

function Text({ label, value, onChange }: { label: string; value: string; onChange: (text: string) => void }) {
  const id = useId();
  return (
    <div className="grid content-start gap-1">
      <label htmlFor={id} className="font-medium">
        {label}
      </label>
      <textarea
        id={id}
        rows={5}
        className="field font-mono text-xs"
        spellCheck={false}
        value={value}
        onChange={({ target }) => onChange(target.value)}
      />
    </div>
  );
}
