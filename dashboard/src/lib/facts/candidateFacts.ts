import type { Candidate } from "@/api/types";

/** What it has of its own, such as `r 16, learning_rate 0.01`. */
export function candidateName({ values }: Candidate): string {
  const told = Object.entries(values).map(([path, value]) => `${path.split(".").at(-1)} ${textOf(value)}`);
  return told.join(", ");
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** What its last comparison said of it. */
export function lastLoss({ rungs }: Candidate): number | null {
  return rungs.at(-1)?.valid_loss ?? null;
}
