import type { ReactNode } from "react";

import { isPassing, messageOf, Refused, Unreachable } from "@/api/failures";
import { Prose } from "@/components/basics/Prose";

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
  /** Whether a person asked for the action that failed. Such an action is not tried again by itself; reading is. */
  asked?: boolean;
}

/** Says why something failed and what to do about it. */
export function Failure({ error, asked = false }: FailureProps) {
  const remedy = asked ? error instanceof Unreachable && CHECK_FIRST : isPassing(error) && TRYING_AGAIN;
  return (
    <Notice tone={isPassing(error) ? "warn" : "bad"}>
      <p>
        <Prose text={messageOf(error)} />
      </p>
      {remedy && <p className="text-muted">{remedy}</p>}
      {error instanceof Refused && error.param && <p className="text-muted">Parameter: {error.param}</p>}
    </Notice>
  );
}

const TRYING_AGAIN = "The dashboard keeps trying. You need to do nothing.";
const CHECK_FIRST = "It is not known whether this was done. Check once the service answers, then try again if needed.";
