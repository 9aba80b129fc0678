/** What a new job begins with, as it stands in the address. */

export interface NewJobSearch {
  /** A job to begin with. */
  from?: string;
  model?: string;
  training_file?: string;
  validation_file?: string;
}

const NAMES = ["from", "model", "training_file", "validation_file"] as const;

export function parseNewJobSearch(raw: Record<string, unknown>): NewJobSearch {
  return Object.fromEntries(NAMES.flatMap((name) => (typeof raw[name] === "string" ? [[name, raw[name]]] : [])));
}
