import { describe, expect, test } from "vitest";

import type { JobEvent } from "@/api/types";
import { samplesOf } from "@/lib/facts/samples";

function anEvent(type: string, data: JobEvent["data"]): JobEvent {
  return { id: "ftevent-1", object: "fine_tuning.job.event", created_at: 1, level: "info", message: "", type, data };
}
const rows = [{ line: 1, prompt: "2 + 2", expected: "4", answer: "5", finished: true }];

describe("the evaluations", () => {
  test("come in the order of their steps, each once, from any source", () => {
    const told = [anEvent("samples", { step: 20, rows }), anEvent("samples", { step: 10, rows: [] })];
    const found = samplesOf([...told, anEvent("metrics", { step: 30 }), anEvent("samples", { step: 20, rows })]);
    expect(found).toEqual([
      { step: 10, rows: [] },
      { step: 20, rows },
    ]);
  });

  test("leave out events of another shape", () => {
    expect(samplesOf([anEvent("samples", null), anEvent("samples", { step: "10", rows: "?" })])).toEqual([]);
  });
});
