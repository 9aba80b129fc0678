/** Drafts of this tab, which outlive a reload. Each address of the page has its own. */

import { type Draft, EMPTY_DRAFT } from "./draft";

export interface StoredDraft {
  draft: Draft;
  /** Another one after each change: the same request, sent twice, makes one job. */
  key: string;
}

const PREFIX = "tunery-draft ";

export function readDraft(name: string): StoredDraft | null {
  try {
    const stored = JSON.parse(sessionStorage.getItem(PREFIX + name) ?? "null") as StoredDraft | null;
    return stored && { key: stored.key, draft: { ...EMPTY_DRAFT, ...stored.draft } };
  } catch {
    return null; // of another release, say
  }
}

export function storeDraft(name: string, stored: StoredDraft): void {
  sessionStorage.setItem(PREFIX + name, JSON.stringify(stored));
}

export function forgetDraft(name: string): void {
  sessionStorage.removeItem(PREFIX + name);
}

/** `crypto.randomUUID` is there under HTTPS alone. */
export function newKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
