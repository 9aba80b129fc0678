import { describe, expect, test } from "vitest";

import { beginningOf, comparedRows, type Evaluation, matchWords, samplesOf } from "@/lib/facts/samples";
import type { JobEvent } from "@/types/api";

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

describe("the answers", () => {
  const at = (step: number, ...answers: string[]): Evaluation => ({
    step,
    rows: answers.map((answer, line) => ({ line, prompt: `prompt ${line}`, expected: "yes", answer, finished: true })),
  });

  test("are counted before training and after a step", () => {
    const before = at(0, "no", "no");
    expect(beginningOf([before, at(5, "yes", "no")])).toBe(before);
    expect(beginningOf([at(5, "yes")])).toBeUndefined();
    expect(matchWords(before, at(1200, " yes\n", "no"))).toBe("Exactly as expected: 0 of 2 before training, 1 of 2 after step 1,200.");
    expect(matchWords(undefined, at(5, "yes"))).toBe("1 of 1 exactly as expected after step 5.");
  });

  test("to avoid count as no expected answer", () => {
    const avoided = { step: 1, rows: [{ line: 1, prompt: "p", expected: null, answer: "a", finished: true }] };
    expect(matchWords(undefined, avoided)).toBe("These rows have no expected answer.");
  });

  test("of several jobs to one prompt share a row", () => {
    const rows = comparedRows([at(5, "a", "b"), undefined, at(9, "c")]);
    expect(rows.map(({ prompt, answers }) => [prompt, ...answers.map((one) => one?.answer)])).toEqual([
      ["prompt 0", "a", undefined, "c"],
      ["prompt 1", "b", undefined, undefined],
    ]);
  });
});
