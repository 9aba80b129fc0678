/** The drafts of this tab, which survive a reload. Each address of the page has its own draft. */

import { type Draft, EMPTY_DRAFT } from "./draft";

export interface StoredDraft {
  draft: Draft;
  /** The idempotency key. It changes with each change of the draft, so the same request, sent twice, makes one job. */
  key: string;
}

const PREFIX = "tunery-draft ";

export function readDraft(name: string): StoredDraft | null {
  try {
    const stored = JSON.parse(sessionStorage.getItem(PREFIX + name) ?? "null") as StoredDraft | null;
    return stored && { key: stored.key, draft: { ...EMPTY_DRAFT, ...stored.draft } };
  } catch {
    return null; // the stored text may come from another release
  }
}

export function storeDraft(name: string, stored: StoredDraft): void {
  sessionStorage.setItem(PREFIX + name, JSON.stringify(stored));
}

export function forgetDraft(name: string): void {
  sessionStorage.removeItem(PREFIX + name);
}
