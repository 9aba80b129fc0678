import { useQuery } from "@tanstack/react-query";
import { type DragEvent, useState } from "react";

import { fileQuery } from "@/api/details";
import { isNotFound } from "@/api/failures";
import { datasetsQuery } from "@/api/offers";
import { useUpload } from "@/api/useUpload";
import { useNow } from "@/lib/clock";
import { ago, bytes } from "@/lib/format";

import { Field } from "./Field";
import { UploadState } from "./UploadState";

interface FilePickerProps {
  path: string;
  label: string;
  none: string;
  hint: string;
  value: string;
  onChange: (id: string) => void;
}

/** One of the files that are there, or another one, chosen or dropped, which is uploaded. */
export function FilePicker({ path, label, none, hint, value, onChange }: FilePickerProps) {
  const upload = useUpload(({ id }) => onChange(id));
  const [over, setOver] = useState(false);
  const now = useNow();
  const { data: files = [] } = useQuery(datasetsQuery);
  const isListed = files.some(({ id }) => id === value);
  const otherName = useFileName(value, value !== "" && !isListed);
  const take = (files: FileList | null) => {
    const file = files?.[0];
    if (file) upload.start(file);
  };
  const drop = (event: DragEvent) => {
    event.preventDefault();
    setOver(false);
    take(event.dataTransfer.files);
  };
  return (
    <div
      className={`grid gap-3 rounded border border-dashed p-3 ${over ? "border-accent bg-tint" : "border-line"}`}
      onDragOver={(event) => {
        event.preventDefault();
        setOver(true);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={drop}
    >
      <Field path={path} label={label} hint={hint}>
        {(control) => (
          <select
            {...control}
            className="field w-full aria-invalid:border-bad"
            value={value}
            onChange={(event) => onChange(event.target.value)}
          >
            <option value="">{none}</option>
            {value && !isListed && <option value={value}>{otherName}</option>}
            {files.map((file) => (
              <option key={file.id} value={file.id}>
                {file.filename} · {bytes(file.bytes)} · {ago(file.created_at, now)}
              </option>
            ))}
          </select>
        )}
      </Field>
      <div className="flex flex-wrap items-center gap-x-3 gap-y-1">
        <label className="button focus-within:outline-2 focus-within:outline-offset-2 focus-within:outline-accent">
          Upload a file
          <input
            type="file"
            accept=".jsonl,application/jsonl,application/x-ndjson"
            className="sr-only"
            aria-label={`Upload a ${label.toLowerCase()}`}
            disabled={upload.isPending}
            onChange={({ target }) => {
              take(target.files);
              target.value = ""; // the same file may be mended and chosen again
            }}
          />
        </label>
        <span className="fact max-sm:hidden">or drop it here</span>
      </div>
      <UploadState upload={upload} />
    </div>
  );
}

/** Of a file that is not among the newest, or was deleted. */
function useFileName(id: string, enabled: boolean): string {
  const { data, error } = useQuery({ ...fileQuery(id), enabled });
  return isNotFound(error) ? `${id} (deleted)` : (data?.filename ?? id);
}
