/** The answers of a job's model at its evaluations, which the events of type `samples` hold. */

import type { JobEvent } from "@/api/types";

export interface Sample {
  readonly line: number;
  readonly prompt: string;
  /** The answer in the file; null if that is an answer to avoid. */
  readonly expected: string | null;
  readonly answer: string;
  /** Whether the model ended the answer itself. */
  readonly finished: boolean;
  /** Why the answer breaks off, if not because it is too long. */
  readonly error?: string;
}

/** The samples that a job's model answered at one step. */
export interface Evaluation {
  readonly step: number;
  readonly rows: readonly Sample[];
}

/** Returns one evaluation for each step that has samples, in the order of the steps. */
export function samplesOf(events: Iterable<JobEvent>): readonly Evaluation[] {
  const found = new Map<number, Evaluation>();
  for (const { type, data } of events) {
    if (type !== "samples" || typeof data?.step !== "number" || !Array.isArray(data.rows)) continue;
    found.set(data.step, { step: data.step, rows: data.rows as Sample[] });
  }
  return [...found.values()].sort((one, other) => one.step - other.step);
}
