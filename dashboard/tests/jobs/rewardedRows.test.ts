import { expect, test } from "vitest";

import type { Evaluation } from "@/lib/facts/samples";
import { hasRewards, rewardedRows } from "@/lib/jobs/rewardedRows";

const at = (step: number, rewards: Record<number, number | null>): Evaluation => ({
  step,
  rows: Object.entries(rewards).map(([line, reward]) => ({ line: Number(line), prompt: `prompt ${line}`, expected: null, answer: "", finished: true, reward })),
});
const evaluations = [at(0, { 1: 0.5, 2: 1, 3: 0, 4: null }), at(5, { 1: 0.5, 2: 0, 3: null, 4: 1 }), at(10, { 1: 0.25, 2: 0, 3: 1, 4: 1 })];
const lines = (order: Parameters<typeof rewardedRows>[1]) => rewardedRows(evaluations, order).map(({ line }) => line);

test("a prompt has its answers by step, and the change from its first to its last reward", () => {
  const [row] = rewardedRows(evaluations, "file");
  expect(row?.prompt).toBe("prompt 1");
  expect(row?.answers.map(({ step, sample }) => [step, sample.reward])).toEqual([[0, 0.5], [5, 0.5], [10, 0.25]]);
  expect(rewardedRows(evaluations, "file").map(({ change }) => change)).toEqual([-0.25, -1, 1, 0]);
  expect(rewardedRows([at(0, { 1: null }), at(5, { 1: 1 })], "file")[0]?.change).toBeNull();
});

test("prompts are sorted by their line, by their gain or by their loss, and those without a change come last", () => {
  expect(lines("file")).toEqual([1, 2, 3, 4]);
  expect(lines("gain")).toEqual([3, 4, 1, 2]);
  expect(lines("loss")).toEqual([2, 1, 4, 3]);
  const unknown = [at(0, { 1: null, 2: 1 }), at(5, { 1: 1, 2: 0 })];
  expect(rewardedRows(unknown, "gain").map(({ line }) => line)).toEqual([2, 1]);
});

test("only graded answers have rewards", () => {
  expect(hasRewards(evaluations)).toBe(true);
  expect(hasRewards([{ step: 0, rows: [{ line: 1, prompt: "", expected: "yes", answer: "no", finished: true }] }])).toBe(false);
});
