import type { ReactNode } from "react";

/** A card that says why there is nothing to show. */
export function Empty({ children }: { children: ReactNode }) {
  return <p className="card p-6 text-center text-muted">{children}</p>;
}
