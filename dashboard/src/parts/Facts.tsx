import type { ReactNode } from "react";

/** Names with their values, beside each other where there is room. */
export function Facts({ facts }: { facts: readonly (readonly [string, ReactNode])[] }) {
  return (
    <dl className="grid gap-x-8 gap-y-3 px-4 pb-4 sm:grid-cols-2">
      {facts.map(([name, value]) => (
        <div key={name} className="min-w-0">
          <dt className="fact">{name}</dt>
          <dd className="break-words">{value}</dd>
        </div>
      ))}
    </dl>
  );
}

export function Hash({ children }: { children: string }) {
  return <code className="font-mono text-xs break-all text-muted">{children}</code>;
}
