/** The address of New job: what the form is filled with at first. */

export interface NewJobSearch {
  /** A job whose settings fill the form. */
  from?: string;
  /** If that job is a sweep, takes only the winner's values, and not all values that were tried. */
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
