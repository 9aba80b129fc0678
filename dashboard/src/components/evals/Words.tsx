import type { Piece } from "@/lib/evals/wordDifference";

interface WordsProps {
  title: string;
  /** A text, or its pieces if some of them are marked. */
  pieces: string | readonly Piece[];
  tone?: string;
}

/** A text of a row. Marked are the words that the other model's answer does not have at this place. */
export function Words({ title, pieces, tone = "border-line" }: WordsProps) {
  const parts = typeof pieces === "string" ? [{ text: pieces, differs: false }] : pieces;
  return (
    <div className={`min-w-0 rounded border-l-4 bg-sunken p-3 ${tone}`}>
      <h3 className="fact mb-1">{title}</h3>
      <div
        tabIndex={0}
        role="region"
        aria-label={title}
        className="max-h-60 overflow-auto break-words whitespace-pre-wrap"
      >
        {parts.map(({ text, differs }, at) =>
          differs ? (
            <mark key={at} className="rounded-xs bg-tint text-ink underline decoration-accent decoration-2">
              {text}
            </mark>
          ) : (
            text
          ),
        )}
        {!parts.some(({ text }) => text) && <span className="text-muted">empty</span>}
      </div>
    </div>
  );
}
