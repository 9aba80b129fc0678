import { expect, test } from "vitest";

import { fileOf, findingInWords } from "@/lib/datasets/dataCheck";

import { aJob } from "../jobs/aJob";

const finding = { file: "training_file", code: "repeated_row", severity: "warning", count: 12, lines: [3, 1008], message: "", mend: "" } as const;

test("a finding tells how often it was found, and its first lines", () => {
  expect(findingInWords({ ...finding, lines: [3, 1008] })).toBe("repeated row, 12 ×, lines 3, 1,008 and more");
  expect(findingInWords({ ...finding, count: 1, lines: [3] })).toBe("repeated row, 1 ×, line 3");
  expect(findingInWords({ ...finding, lines: [] })).toBe("repeated row, 12 ×");
});

test("a finding is in the file that the job has read", () => {
  const found = { ...finding, lines: [3] };
  const job = aJob(1, { validation_file: "file-2" });
  expect(fileOf(job, found)).toBe("file-1");
  expect(fileOf(job, { ...found, file: "validation_file" })).toBe("file-2");
  const prepared = { training_file: "file-3", training_rows: 9, augmented_rows: 0, validation_rows: 1 };
  expect(fileOf({ ...job, prepared }, found)).toBe("file-3");
});
