/** The ids of the jobs that are selected in the list. */

export type Selection = ReadonlySet<string>;

export const NOTHING_SELECTED: Selection = new Set();

export function toggled(selection: Selection, id: string): Selection {
  const changed = new Set(selection);
  if (!changed.delete(id)) changed.add(id);
  return changed;
}

export function hasAll(selection: Selection, ids: readonly string[]): boolean {
  return ids.length > 0 && ids.every((id) => selection.has(id));
}

/** Returns the selection with all of `ids`. Other ids stay. */
export function withAll(selection: Selection, ids: readonly string[]): Selection {
  return new Set([...selection, ...ids]);
}

/** Returns the selection without any of `ids`. Other ids stay. */
export function withoutAll(selection: Selection, ids: readonly string[]): Selection {
  const changed = new Set(selection);
  for (const id of ids) changed.delete(id);
  return changed;
}
