import { useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { type DragEvent, useRef, useState, useSyncExternalStore } from "react";

import { type Purpose, PURPOSES } from "@/api/files";
import { dismissUpload, getUploads, onUploads, startUploads, type Upload } from "@/api/uploads";
import { bytes } from "@/lib/format";
import { Icon } from "@/parts/Icon";
import { ProgressBar } from "@/parts/ProgressBar";

/** Takes files that are dropped or picked, and shows how far each has got. */
export function Uploads() {
  const client = useQueryClient();
  const uploads = useSyncExternalStore(onUploads, getUploads);
  const picker = useRef<HTMLInputElement>(null);
  const [purpose, setPurpose] = useState<Purpose>("fine-tune");
  const [over, setOver] = useState(false);
  const take = (files: FileList | null) => startUploads(client, [...(files ?? [])], purpose);
  const drop = (event: DragEvent) => {
    event.preventDefault();
    setOver(false);
    take(event.dataTransfer.files);
  };
  return (
    <section
      aria-label="Upload"
      className={`card grid gap-3 border-dashed p-4 ${over ? "border-accent bg-tint" : ""}`}
      onDragOver={(event) => {
        event.preventDefault();
        setOver(true);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={drop}
    >
      <div className="flex flex-wrap items-center gap-x-4 gap-y-2">
        <button type="button" className="button button-primary" onClick={() => picker.current?.click()}>
          <Icon name="up" />
          Upload files
        </button>
        <input
          ref={picker}
          type="file"
          multiple
          hidden
          aria-label="Files to upload"
          onChange={(event) => {
            take(event.target.files);
            event.target.value = ""; // the same file may be picked again
          }}
        />
        <label className="flex items-center gap-2">
          Purpose
          <select className="field" value={purpose} onChange={(event) => setPurpose(event.target.value as Purpose)}>
            {PURPOSES.map((one) => (
              <option key={one}>{one}</option>
            ))}
          </select>
        </label>
        <p className="text-muted">or drop them here. The rows of a fine-tune file are checked while it arrives.</p>
      </div>
      {uploads.length > 0 && (
        <ul className="grid gap-2">
          {uploads.map((upload) => (
            <UploadLine key={upload.key} upload={upload} />
          ))}
        </ul>
      )}
    </section>
  );
}

function UploadLine({ upload }: { upload: Upload }) {
  const { name, sent, state, fileId, message } = upload;
  const percent = upload.bytes ? (100 * sent) / upload.bytes : 100;
  return (
    <li className="grid gap-1 border-t border-line pt-2">
      <div className="flex flex-wrap items-center gap-x-3 gap-y-1">
        <span className="min-w-0 flex-1 truncate">
          {fileId ? (
            <Link to="/files/$fileId" params={{ fileId }} className="link">
              {name}
            </Link>
          ) : (
            name
          )}
        </span>
        <span role="status" className={`text-muted ${state === "failed" ? "text-bad" : ""}`}>
          {wordsOf(upload)}
        </span>
        <button
          type="button"
          className="link"
          aria-label={`${state === "done" || state === "failed" ? "Dismiss" : "Cancel"} ${name}`}
          onClick={() => dismissUpload(upload.key)}
        >
          {state === "done" || state === "failed" ? "Dismiss" : "Cancel"}
        </button>
      </div>
      {state === "sending" && <ProgressBar percent={percent} label={`Upload of ${name}`} />}
      {message && <p className="break-words whitespace-pre-line text-bad">{message}</p>}
    </li>
  );
}

function wordsOf({ state, sent, bytes: all }: Upload): string {
  if (state === "sending") return sent < all ? `${bytes(sent)} of ${bytes(all)}` : "sent, being checked…";
  return { waiting: "waits", done: "uploaded", failed: "not taken" }[state];
}
