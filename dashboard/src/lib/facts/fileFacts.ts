import type { FileObject } from "@/api/types";
import { integer } from "@/lib/text/format";

const KINDS: Record<string, string> = {
  chat: "chat rows",
  preference: "pairs of answers",
  labelled: "labelled answers",
};

/** Returns the outcome of the check of a file. Only correct datasets are stored, so the outcome has no faults. */
export function checkOf(file: FileObject): string {
  if (file.purpose === "fine-tune-results") return "made by a job";
  if (file.purpose !== "fine-tune") return "not checked";
  if (file.rows == null) return "checked";
  return `${integer(file.rows)} ${KINDS[file.kind ?? "chat"] ?? "rows"}`;
}
