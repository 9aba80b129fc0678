import { useRef, useState } from "react";

import { copyText } from "@/lib/browser/clipboard";

import { Icon } from "./Icon";

interface CopyBlockProps {
  label: string;
  code: string;
  /** Whether long lines are broken, so that all of the code is visible. Without it, the block scrolls. */
  wraps?: boolean;
}

/** Code with a button that copies it. */
export function CopyBlock({ label, code, wraps = false }: CopyBlockProps) {
  const [buttonLabel, setButtonLabel] = useState("Copy");
  const block = useRef<HTMLPreElement>(null);
  const copy = async () => {
    const copied = await copyText(code);
    if (!copied && block.current) getSelection()?.selectAllChildren(block.current);
    setButtonLabel(copied ? "Copied" : "Selected: press Ctrl+C");
  };
  return (
    <figure className="overflow-hidden rounded border border-line text-left">
      <figcaption className="flex items-center justify-between border-b border-line bg-sunken px-3 py-1">
        {label}
        <button type="button" className="button border-transparent bg-transparent" onClick={() => void copy()}>
          <Icon name="copy" />
          <span aria-live="polite">{buttonLabel}</span>
        </button>
      </figcaption>
      <pre
        ref={block}
        tabIndex={0}
        role="region"
        aria-label={label}
        className={`overflow-x-auto p-3 font-mono text-xs leading-relaxed ${wraps ? "break-all whitespace-pre-wrap" : ""}`}
      >
        {code}
      </pre>
    </figure>
  );
}
