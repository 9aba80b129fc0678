import { useState } from "react";

import { Icon } from "./Icon";

/** Code to take along. */
export function CopyBlock({ label, code }: { label: string; code: string }) {
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    await navigator.clipboard.writeText(code);
    setCopied(true);
  };
  return (
    <figure className="overflow-hidden rounded border border-line text-left">
      <figcaption className="flex items-center justify-between border-b border-line bg-sunken px-3 py-1">
        {label}
        <button type="button" className="button border-transparent bg-transparent" onClick={() => void copy()}>
          <Icon name="copy" />
          <span aria-live="polite">{copied ? "Copied" : "Copy"}</span>
        </button>
      </figcaption>
      <pre tabIndex={0} role="region" aria-label={label} className="overflow-x-auto p-3 font-mono text-xs leading-relaxed">
        {code}
      </pre>
    </figure>
  );
}
