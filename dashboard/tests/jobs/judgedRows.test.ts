import { expect, test } from "vitest";

import type { Evaluation } from "@/lib/facts/samples";
import { type Judgement, judgedRows, judgementOf } from "@/lib/jobs/judgedRows";

const at = (step: number, rewards: Record<number, number | null>): Evaluation => ({
  step,
  rows: Object.entries(rewards).map(([line, reward]) => ({ line: Number(line), prompt: `prompt ${line}`, expected: null, answer: "", finished: true, reward })),
});
const evaluations = [at(0, { 1: 0.5, 2: 1, 3: 0, 4: null }), at(5, { 1: 0.5, 2: 0, 3: null, 4: 1 }), at(10, { 1: 0.25, 2: 0, 3: 1, 4: 1 })];
const BY = judgementOf(evaluations) as Judgement;
const lines = (order: Parameters<typeof judgedRows>[2]) => judgedRows(evaluations, BY, order).map(({ line }) => line);

test("a prompt has its answers by step, and the change from its first to its last reward", () => {
  const [row] = judgedRows(evaluations, BY, "file");
  expect(row?.prompt).toBe("prompt 1");
  expect(row?.answers.map(({ step, sample }) => [step, sample.reward])).toEqual([[0, 0.5], [5, 0.5], [10, 0.25]]);
  expect(judgedRows(evaluations, BY, "file").map(({ change }) => change)).toEqual([-0.25, -1, 1, 0]);
  expect(judgedRows([at(0, { 1: null }), at(5, { 1: 1 })], BY, "file")[0]?.change).toBeNull();
});

test("prompts are sorted by their line, by their gain or by their loss, and those without a change come last", () => {
  expect(lines("file")).toEqual([1, 2, 3, 4]);
  expect(lines("gain")).toEqual([3, 4, 1, 2]);
  expect(lines("loss")).toEqual([2, 1, 4, 3]);
  const unknown = [at(0, { 1: null, 2: 1 }), at(5, { 1: 1, 2: 0 })];
  expect(judgedRows(unknown, BY, "gain").map(({ line }) => line)).toEqual([2, 1]);
});

test("an answer that becomes more like the teacher's is a gain", () => {
  const from = (step: number, nearer: number, farther: number): Evaluation => ({
    step,
    rows: [nearer, farther].map((reverse_kl, at) => ({ line: at + 1, prompt: "", expected: null, answer: "", finished: true, reverse_kl })),
  });
  const distilled = [from(0, 1, 1), from(5, 0.5, 2)];
  const by = judgementOf(distilled) as Judgement;
  expect(by.words).toBe("reverse KL");
  expect(judgedRows(distilled, by, "gain").map(({ line }) => line)).toEqual([1, 2]);
  expect(judgedRows(distilled, by, "loss").map(({ line }) => line)).toEqual([2, 1]);
});

test("only judged answers have a judgement", () => {
  expect(judgementOf(evaluations)?.of).toBe("reward");
  expect(judgementOf([{ step: 0, rows: [{ line: 1, prompt: "", expected: "yes", answer: "no", finished: true }] }])).toBeUndefined();
});
