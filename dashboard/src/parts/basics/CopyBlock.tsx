import { useRef, useState } from "react";

import { copyText } from "@/lib/browser/clipboard";

import { Icon } from "./Icon";

interface CopyBlockProps {
  label: string;
  code: string;
  /** Breaks long lines, so that all can be seen and marked; else it scrolls. */
  wraps?: boolean;
}

/** Code to take along. */
export function CopyBlock({ label, code, wraps = false }: CopyBlockProps) {
  const [told, setTold] = useState("Copy");
  const block = useRef<HTMLPreElement>(null);
  const copy = async () => {
    const copied = await copyText(code);
    if (!copied && block.current) getSelection()?.selectAllChildren(block.current);
    setTold(copied ? "Copied" : "Selected: press Ctrl+C");
  };
  return (
    <figure className="overflow-hidden rounded border border-line text-left">
      <figcaption className="flex items-center justify-between border-b border-line bg-sunken px-3 py-1">
        {label}
        <button type="button" className="button border-transparent bg-transparent" onClick={() => void copy()}>
          <Icon name="copy" />
          <span aria-live="polite">{told}</span>
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
