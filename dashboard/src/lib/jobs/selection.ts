/** The ids of the jobs that are ticked in a list. */

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

/** With all of `ids`; others stay as they are. */
export function withAll(selection: Selection, ids: readonly string[]): Selection {
  return new Set([...selection, ...ids]);
}

/** With none of `ids`; others stay as they are. */
export function withoutAll(selection: Selection, ids: readonly string[]): Selection {
  const changed = new Set(selection);
  for (const id of ids) changed.delete(id);
  return changed;
}
