import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";

import { type Purpose, PURPOSES } from "@/api/files/files";
import { startUpload, useUploads } from "@/api/files/uploads";
import { FileButton } from "@/parts/files/FileButton";
import { UploadLine } from "@/parts/files/UploadLine";
import { useDrop } from "@/parts/files/useFileDrop";

/** Takes files that are dropped or picked, and shows how far each has got. */
export function Uploads() {
  const client = useQueryClient();
  const uploads = useUploads();
  const [purpose, setPurpose] = useState<Purpose>("fine-tune");
  const take = (files: readonly File[]) => files.forEach((file) => startUpload(client, file, purpose));
  const { over, handlers } = useDrop(take);
  return (
    <section
      aria-label="Upload"
      className={`card grid gap-3 border-dashed p-4 ${over ? "border-accent bg-tint" : ""}`}
      {...handlers}
    >
      <div className="flex flex-wrap items-center gap-x-4 gap-y-2">
        <FileButton primary multiple label="Files to upload" onFiles={take}>
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
          <span className="max-sm:hidden">or drop them here. </span>The rows of a fine-tune file are checked while it
          arrives.
        </p>
      </div>
      {uploads.length > 0 && (
        <ul className="grid gap-2">
          {uploads.map((upload) => (
            <li key={upload.key} className="border-t border-line pt-2">
              <UploadLine upload={upload} />
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}
