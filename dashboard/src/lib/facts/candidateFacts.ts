import { compactJson } from "@/lib/text/flatten";
import type { Candidate } from "@/types/api";

/** Returns the values in which the candidate differs from the others, such as `r 16, learning_rate 0.01`. */
export function candidateName({ values }: Candidate): string {
  return Object.entries(values)
    .map(([path, value]) => `${path.split(".").at(-1)} ${textOf(value)}`)
    .join(", ");
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : compactJson(value);
}

/** Returns the validation loss at the candidate's last comparison; null before the first one. */
export function lastLoss({ rungs }: Candidate): number | null {
  return rungs.at(-1)?.valid_loss ?? null;
}
