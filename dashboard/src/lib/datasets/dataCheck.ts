/** What a job's check of its rows has found, in words. */

import { integer, spoken } from "@/lib/text/format";
import type { Job } from "@/types/api";

type DataFinding = NonNullable<Job["data_check"]>[number];

/** Returns the file that a finding is in: the one that the job has read, which may be a prepared one. */
export function fileOf({ training_file, validation_file, prepared }: Job, { file }: DataFinding): string | null {
  return file === "validation_file" ? validation_file : (prepared?.training_file ?? training_file);
}

/** Returns what was found and how often, as "duplicate row, 12 ×, lines 3, 8 and more". */
export function findingInWords({ code, count, lines }: DataFinding): string {
  const more = count > lines.length ? " and more" : "";
  const named = lines.length ? `, ${lines.length === 1 && !more ? "line" : "lines"} ${lines.map(integer).join(", ")}${more}` : "";
  return `${spoken(code)}, ${integer(count)} ×${named}`;
}
