import type { ReactNode } from "react";

/** A control with its label above. */
export function Labelled({ label, children }: { label: string; children: ReactNode }) {
  return (
    <label className="grid min-w-0 content-start gap-1">
      <span className="fact">{label}</span>
      {children}
    </label>
  );
}
