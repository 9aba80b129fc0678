import { type ReactNode, useState } from "react";

interface FoldProps {
  summary: string;
  /** Classes of the summary. */
  className: string;
  /** What it holds. It is rendered, and asks the service, once the reader has unfolded it. */
  children: ReactNode;
}

/** A part of a card that is folded away at first. */
export function Fold({ summary, className, children }: FoldProps) {
  const [wasOpen, setWasOpen] = useState(false);
  return (
    <details className="border-t border-line" onToggle={() => setWasOpen(true)}>
      <summary className={`cursor-pointer px-4 py-2 ${className}`}>{summary}</summary>
      {wasOpen && children}
    </details>
  );
}
