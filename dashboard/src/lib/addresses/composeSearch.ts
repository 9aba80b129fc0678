/** The address of the form that composes adapters: which adapters are its parts. */

export const MOST_PARTS = 16;

export interface ComposeSearch {
  /** Ids of adapters with commas between them. */
  adapters?: string;
}

export function parseComposeSearch(raw: Record<string, unknown>): ComposeSearch {
  const adapters = typeof raw.adapters === "string" ? partsOf(raw.adapters).join() : "";
  return adapters ? { adapters } : {};
}

/** Returns the ids of the adapters, each once. */
export function partsOf(adapters: string | undefined): string[] {
  const ids = (adapters ?? "").split(",").map((id) => id.trim());
  return [...new Set(ids.filter(Boolean))].slice(0, MOST_PARTS);
}

export function withPart(adapters: string | undefined, id: string): string {
  return partsOf([adapters ?? "", id].join()).join();
}

export function withoutPart(adapters: string | undefined, id: string): string | undefined {
  return partsOf(adapters).filter((one) => one !== id).join() || undefined;
}
