import { Link } from "@tanstack/react-router";

import { messageOf, Refused } from "@/api/failures";
import { dismissUpload, type Upload } from "@/api/files/uploads";
import { bytes } from "@/lib/text/format";
import { ProgressBar } from "@/components/basics/ProgressBar";
import { Prose } from "@/components/basics/Prose";

/** The progress of an upload, or why the file was not uploaded. */
export function UploadLine({ upload }: { upload: Upload }) {
  const { key, name, sent, state, fileId, error } = upload;
  const percent = upload.bytes ? (100 * sent) / upload.bytes : 100;
  const action = state === "done" || state === "failed" ? "Dismiss" : "Cancel";
  return (
    <div className="grid gap-1">
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
        <span role="status" className={state === "failed" ? "text-bad" : "text-muted"}>
          {wordsOf(upload)}
        </span>
        <button type="button" className="link" aria-label={`${action} ${name}`} onClick={() => dismissUpload(key)}>
          {action}
        </button>
      </div>
      {state === "sending" && <ProgressBar percent={percent} label={`Upload of ${name}`} />}
      {error !== undefined && <Refusal name={name} error={error} />}
    </div>
  );
}

function wordsOf({ state, sent, bytes: all }: Upload): string {
  if (state === "sending") return sent < all ? `${bytes(sent)} of ${bytes(all)}` : "sent, being checked…";
  return { waiting: "waiting", done: "uploaded", failed: "failed" }[state];
}

const MOST_FINDINGS = 8;

function Refusal({ name, error }: { name: string; error: unknown }) {
  const findings = error instanceof Refused ? error.details : [];
  const more = findings.length - MOST_FINDINGS;
  return (
    <div role="alert" className="break-words">
      <p className="sr-only">{name} was not uploaded.</p>
      {findings.length ? (
        <ul className="grid gap-0.5 border-l-2 border-bad pl-2 text-xs">
          {findings.slice(0, MOST_FINDINGS).map(({ line, field, message }) => (
            <li key={`${line} ${field} ${message}`}>
              {line !== undefined && <strong>Line {line}: </strong>}
              {field && <code className="font-mono">{field}</code>} {message}
            </li>
          ))}
          {more > 0 && <li className="text-muted">And {more} more.</li>}
        </ul>
      ) : (
        <p className="whitespace-pre-line text-bad">
          <Prose text={messageOf(error)} />
        </p>
      )}
    </div>
  );
}
