/** The address of a file: the line that is shown. */

export interface FileSearch {
  /** Counted from 1. */
  line?: number;
}

export function parseFileSearch({ line }: Record<string, unknown>): FileSearch {
  return typeof line === "number" && Number.isInteger(line) && line > 0 ? { line } : {};
}
