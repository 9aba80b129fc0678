/** What a new job begins with, as it stands in the address. */

export interface NewJobSearch {
  /** A job to begin with. */
  from?: string;
  /** Of a sweep what won alone, and not the values that it tried. */
  won?: true;
  model?: string;
  training_file?: string;
  validation_file?: string;
}

const NAMES = ["from", "model", "training_file", "validation_file"] as const;

export function parseNewJobSearch(raw: Record<string, unknown>): NewJobSearch {
  const named = NAMES.flatMap((name) => (typeof raw[name] === "string" ? [[name, raw[name]]] : []));
  return { ...Object.fromEntries(named), ...((raw.won === true || raw.won === "true") && { won: true as const }) };
}
