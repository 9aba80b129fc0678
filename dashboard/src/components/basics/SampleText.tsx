import type { ReactNode } from "react";

interface SampleTextProps {
  title: string;
  text: string | null;
  note?: string | false;
  /** Shown beside the title. */
  mark?: ReactNode;
  tone?: string;
  /** Shown in place of the text. */
  children?: ReactNode;
}

/** A text of a row: a prompt, what was expected, or an answer. A long text scrolls. */
export function SampleText({ title, text, note = false, mark, tone = "border-line", children }: SampleTextProps) {
  const content = children ?? (text === "" ? <span className="text-muted">empty</span> : text);
  return (
    <div className={`min-w-0 rounded border-l-4 bg-sunken p-3 ${tone}`}>
      <p className="fact mb-1 flex flex-wrap justify-between gap-x-3 font-medium">
        {title}
        {mark}
      </p>
      {content !== null && (
        <div tabIndex={0} role="group" aria-label={title} className="max-h-60 overflow-auto break-words whitespace-pre-wrap">
          {content}
        </div>
      )}
      {note && <p className="fact mt-1">{note}</p>}
    </div>
  );
}
