import { integer } from "@/lib/text/format";
import type { FileObject } from "@/types/api";

/** The words for one row of a kind, and for several. */
const KINDS: Record<string, readonly [one: string, several: string]> = {
  chat: ["chat row", "chat rows"],
  preference: ["pair of answers", "pairs of answers"],
  labelled: ["labelled answer", "labelled answers"],
  prompt: ["prompt", "prompts"],
};

/** Returns the end of a file's id, which tells files of one name apart. */
export function idTail(id: string): string {
  return `…${id.slice(-6)}`;
}

/** Returns the names that several of the files have. */
export function sharedNames(files: readonly FileObject[]): ReadonlySet<string> {
  const seen = new Set<string>();
  const names = files.map(({ filename }) => filename);
  return new Set(names.filter((name) => seen.has(name) || !seen.add(name)));
}

/** Returns the outcome of the check of a file. Only correct datasets are stored, so the outcome has no faults. */
export function checkOf(file: FileObject): string {
  if (file.purpose === "fine-tune-results") return "made by a job";
  if (file.purpose !== "fine-tune") return "not checked";
  if (file.rows == null) return "checked";
  const [one, several] = KINDS[file.kind ?? "chat"] ?? ["row", "rows"];
  return `${integer(file.rows)} ${file.rows === 1 ? one : several}`;
}

/** Returns whether a file may hold rows for training: a dataset, or a file of another format. */
export function isDataset({ purpose }: FileObject): boolean {
  return purpose === "fine-tune" || purpose === "user_data";
}
