import type { ReactNode } from "react";

export type Fact = readonly [name: string, value: ReactNode, wide?: "wide"];

/** Names with their values, two pairs beside each other. A wide pair has the line for itself. */
export function Facts({ facts }: { facts: readonly Fact[] }) {
  return (
    <dl className="grid grid-cols-2 gap-x-6 gap-y-3 px-4 pb-4">
      {facts.map(([name, value, wide]) => (
        <div key={name} className={`min-w-0 ${wide ? "col-span-2" : ""}`}>
          <dt className="fact">{name}</dt>
          <dd className="break-words">{value}</dd>
        </div>
      ))}
    </dl>
  );
}

/** A hash, which may break at any character. */
export function Hash({ children }: { children: string }) {
  return <code className="font-mono text-xs break-all text-muted">{children}</code>;
}
