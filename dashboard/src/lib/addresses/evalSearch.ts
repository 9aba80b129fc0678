/** The address of an eval: which two runs are compared, and which of the changed rows are shown. */

export interface EvalSearch {
  /** The ids of the two runs; without them, the page chooses. */
  base?: string;
  tuned?: string;
  /** The criterion by which rows have changed; without it, the first. */
  criterion?: string;
  /** Without it, the rows that the tuned model does better. */
  change?: "worse";
}

export function parseEvalSearch(raw: Record<string, unknown>): EvalSearch {
  const { base, tuned, criterion, change } = raw;
  return {
    ...(isText(base) && { base }),
    ...(isText(tuned) && { tuned }),
    ...(isText(criterion) && { criterion }),
    ...(change === "worse" && { change }),
  };
}

const isText = (value: unknown): value is string => typeof value === "string" && value !== "";
