import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";

import { isNotFound } from "@/api/failures";
import { fileQuery } from "@/api/files/files";
import { startUpload, useUploads } from "@/api/files/uploads";
import { datasetsQuery } from "@/api/jobs/offers";
import { useNow } from "@/lib/browser/useNow";
import { idTail, sharedNames } from "@/lib/facts/fileFacts";
import { ago, bytes } from "@/lib/text/format";
import type { FileObject } from "@/types/api";
import { FileButton } from "@/components/files/FileButton";
import { UploadLine } from "@/components/files/UploadLine";
import { useFileDrop } from "@/components/files/useFileDrop";

import { Field } from "./Field";

interface FilePickerProps {
  path: string;
  label: string;
  none: string;
  hint: string;
  /** The kind of rows that fits. The list begins with files of this kind. */
  kind?: string | undefined;
  value: string;
  onChange: (id: string) => void;
}

/** Chooses a file of the project, or uploads a file that is picked or dropped and chooses it. */
export function FilePicker({ path, label, none, hint, kind, value, onChange }: FilePickerProps) {
  const client = useQueryClient();
  const [uploadKey, setUploadKey] = useState<number>();
  const upload = useUploads().find(({ key, state }) => key === uploadKey && state !== "done");
  const isUploading = upload !== undefined && upload.state !== "failed";
  const uploadFirst = ([file]: readonly File[]) => {
    if (file && !isUploading) setUploadKey(startUpload(client, file, "fine-tune", onChange));
  };
  const { isOver, handlers } = useFileDrop(uploadFirst);
  const now = useNow();
  const { data: files = [] } = useQuery(datasetsQuery);
  const shared = sharedNames(files);
  const isListed = files.some(({ id }) => id === value);
  const fitting = files.filter((file) => file.kind === kind);
  const optionOf = (file: FileObject) => (
    <option key={file.id} value={file.id}>
      {file.filename} · {bytes(file.bytes)} · {ago(file.created_at, now)}
      {shared.has(file.filename) && ` · ${idTail(file.id)}`}
    </option>
  );
  const otherName = useFileName(value, value !== "" && !isListed);
  return (
    <div
      className={`grid gap-3 rounded border border-dashed p-3 ${isOver ? "border-accent bg-tint" : "border-line"}`}
      {...handlers}
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
            {kind !== undefined && (
              <>
                <optgroup label="Files with rows that fit">{fitting.map(optionOf)}</optgroup>
                <optgroup label="Other files">{files.filter((file) => !fitting.includes(file)).map(optionOf)}</optgroup>
              </>
            )}
            {kind === undefined && files.map(optionOf)}
          </select>
        )}
      </Field>
      <div className="flex flex-wrap items-center gap-x-3 gap-y-1">
        <FileButton
          label={`Upload a ${label.toLowerCase()}`}
          accept=".jsonl,application/jsonl,application/x-ndjson"
          disabled={isUploading}
          onFiles={uploadFirst}
        >
          {`Upload a ${label.toLowerCase()}`}
        </FileButton>
        <span className="fact max-sm:hidden">or drop it here</span>
      </div>
      {upload && <UploadLine upload={upload} />}
    </div>
  );
}

/** Returns the name of a file that is not among the newest files, or says that it was deleted. */
function useFileName(id: string, enabled: boolean): string {
  const { data, error } = useQuery({ ...fileQuery(id), enabled });
  return isNotFound(error) ? `${id} (deleted)` : (data?.filename ?? id);
}
