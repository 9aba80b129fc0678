/** What a job's model answered at its evaluations, as the events of type `samples` tell it. */

import type { JobEvent } from "@/api/types";

export interface Sample {
  readonly line: number;
  readonly prompt: string;
  /** What the file holds; null where that is an answer to avoid. */
  readonly expected: string | null;
  readonly answer: string;
  /** Whether the model ended the answer itself. */
  readonly finished: boolean;
}

export interface Sampled {
  readonly step: number;
  readonly rows: readonly Sample[];
}

/** One for each step, the first one first. */
export function samplesOf(events: Iterable<JobEvent>): readonly Sampled[] {
  const found = new Map<number, Sampled>();
  for (const { type, data } of events) {
    if (type !== "samples" || typeof data?.step !== "number" || !Array.isArray(data.rows)) continue;
    found.set(data.step, { step: data.step, rows: data.rows as Sample[] });
  }
  return [...found.values()].sort((one, other) => one.step - other.step);
}
