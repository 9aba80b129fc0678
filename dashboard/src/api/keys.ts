/** The keys of queries that more than one folder reads again. */

/** All queries for lists of files. */
export const FILES_KEY = ["files"] as const;
export const EVALS_KEY = ["evals"] as const;
/** Evals with their runs. */
export const JUDGED_KEY = [...EVALS_KEY, "judged"] as const;
export const adapterKey = (id: string) => ["adapter", id] as const;
