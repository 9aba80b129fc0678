import type { ReactNode } from "react";

import { isPassing, messageOf, Refused, Unreachable } from "@/api/failures";

const TONES = { bad: "border-bad", warn: "border-warn", plain: "border-line" };

export function Notice({ tone = "plain", children }: { tone?: keyof typeof TONES; children: ReactNode }) {
  return (
    <div role={tone === "bad" ? "alert" : "status"} className={`card border-l-4 px-4 py-3 ${TONES[tone]}`}>
      {children}
    </div>
  );
}

interface FailureProps {
  error: unknown;
  /** Of what somebody asked for: unlike what is read, it is not tried again by itself. */
  asked?: boolean;
}

/** What went wrong, and what has to be done about it. */
export function Failure({ error, asked = false }: FailureProps) {
  const advice = asked ? error instanceof Unreachable && LOOK_FIRST : isPassing(error) && TRYING_AGAIN;
  return (
    <Notice tone={isPassing(error) ? "warn" : "bad"}>
      <p>{messageOf(error)}</p>
      {advice && <p className="text-muted">{advice}</p>}
      {error instanceof Refused && error.param && <p className="text-muted">Parameter: {error.param}</p>}
    </Notice>
  );
}

const TRYING_AGAIN = "Trying again; nothing has to be done here.";
const LOOK_FIRST = "Whether it was done is not known: see what is here once the service answers, then try again.";
