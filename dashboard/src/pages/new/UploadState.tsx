import { messageOf, Refused } from "@/api/failures";
import type { useUpload } from "@/api/useUpload";
import { ProgressBar } from "@/parts/ProgressBar";

const MOST_FINDINGS = 8;

/** How far an upload is, or what was wrong with the file. */
export function UploadState({ upload }: { upload: ReturnType<typeof useUpload> }) {
  const { isPending, share, error, name, stop } = upload;
  if (isPending) {
    const percent = Math.floor(100 * share);
    return (
      <div className="grid gap-1" role="status">
        <div className="flex items-center justify-between gap-3">
          <span className="truncate">{share < 1 ? `Uploading ${name}: ${percent} %` : `Checking the rows of ${name}…`}</span>
          <button type="button" className="link" onClick={stop}>
            Stop
          </button>
        </div>
        <ProgressBar percent={percent} label={`Upload of ${name}`} />
      </div>
    );
  }
  return error && <Refusal name={name} error={error} />;
}

function Refusal({ name, error }: { name: string; error: unknown }) {
  const details = error instanceof Refused ? error.details : [];
  const more = details.length - MOST_FINDINGS;
  return (
    <div role="alert" className="grid gap-1 rounded border border-bad px-3 py-2 break-words">
      <p>
        <strong>{name}</strong> was not taken{details.length ? ":" : `. ${messageOf(error)}`}
      </p>
      {details.length > 0 && (
        <ul className="grid gap-0.5 text-xs">
          {details.slice(0, MOST_FINDINGS).map(({ line, field, message }) => (
            <li key={`${line} ${field} ${message}`}>
              {line !== undefined && <strong>Line {line}: </strong>}
              {field && <code className="font-mono">{field}</code>} {message}
            </li>
          ))}
          {more > 0 && <li className="text-muted">And {more} more.</li>}
        </ul>
      )}
    </div>
  );
}
