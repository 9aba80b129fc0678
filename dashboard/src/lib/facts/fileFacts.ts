/** What follows from a file's fields. */

import type { FileObject } from "@/api/types";

import { integer } from "@/lib/text/format";

const KINDS: Record<string, string> = {
  chat: "chat rows",
  preference: "pairs of answers",
  labelled: "labelled answers",
};

/** What the check of a dataset has found: it takes in none but right ones. */
export function checkOf(file: FileObject): string {
  if (file.purpose === "fine-tune-results") return "made by a job";
  if (file.purpose !== "fine-tune") return "not checked";
  if (file.rows == null) return "checked";
  return `${integer(file.rows)} ${KINDS[file.kind ?? "chat"] ?? "rows"}`;
}
