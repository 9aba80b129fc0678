import type { ReactNode } from "react";

import { messageOf, Refused, Unreachable } from "@/api/failures";

const TONES = { bad: "border-bad", warn: "border-warn", plain: "border-line" };

export function Notice({ tone = "plain", children }: { tone?: keyof typeof TONES; children: ReactNode }) {
  return (
    <div role={tone === "bad" ? "alert" : "status"} className={`card border-l-4 px-4 py-3 ${TONES[tone]}`}>
      {children}
    </div>
  );
}

/** What went wrong, and whether anything has to be done about it. */
export function Failure({ error }: { error: unknown }) {
  return (
    <Notice tone={error instanceof Unreachable ? "warn" : "bad"}>
      <p>{messageOf(error)}</p>
      {error instanceof Unreachable && <p className="text-muted">Trying again; nothing has to be done here.</p>}
      {error instanceof Refused && error.param && <p className="text-muted">Parameter: {error.param}</p>}
    </Notice>
  );
}
