import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";

import { type Purpose, PURPOSES } from "@/api/files/files";
import { startUpload, useUploads } from "@/api/files/uploads";
import { FileButton } from "@/components/files/FileButton";
import { UploadLine } from "@/components/files/UploadLine";
import { useFileDrop } from "@/components/files/useFileDrop";

/** Uploads files that are dropped or picked, and shows the progress of each. */
export function Uploads() {
  const client = useQueryClient();
  const uploads = useUploads();
  const [purpose, setPurpose] = useState<Purpose>("fine-tune");
  const upload = (files: readonly File[]) => files.forEach((file) => startUpload(client, file, purpose));
  const { isOver, handlers } = useFileDrop(upload);
  return (
    <section
      aria-label="Upload"
      className={`card grid gap-3 border-dashed p-4 ${isOver ? "border-accent bg-tint" : ""}`}
      {...handlers}
    >
      <div className="flex flex-wrap items-center gap-x-4 gap-y-2">
        <FileButton primary multiple label="Files to upload" onFiles={upload}>
          Upload files
        </FileButton>
        <label className="flex items-center gap-2">
          Purpose
          <select className="field" value={purpose} onChange={(event) => setPurpose(event.target.value as Purpose)}>
            {PURPOSES.map((one) => (
              <option key={one}>{one}</option>
            ))}
          </select>
        </label>
        <p className="text-muted">
          <span className="max-sm:hidden">or drop them here. </span>The rows of a fine-tune file are checked during the
          upload.
        </p>
      </div>
      {uploads.length > 0 && (
        <ul className="grid gap-2">
          {uploads.map((one) => (
            <li key={one.key} className="border-t border-line pt-2">
              <UploadLine upload={one} />
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}
