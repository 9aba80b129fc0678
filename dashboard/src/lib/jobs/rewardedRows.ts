/** The answers of a job that learns from rewards: to each prompt, those of all validations. */

import type { Evaluation, Sample } from "@/lib/facts/samples";

export const ORDERS = ["file", "gain", "loss"] as const;
export type Order = (typeof ORDERS)[number];

interface RewardedAnswer {
  step: number;
  sample: Sample;
}

export interface RewardedRow {
  line: number;
  prompt: string;
  /** By step, so the model before training comes first. */
  answers: RewardedAnswer[];
  /** The last reward minus the first; null if there are not two. */
  change: number | null;
}

/** Returns whether a grader has judged any of the answers. */
export function hasRewards(evaluations: readonly Evaluation[]): boolean {
  return evaluations.some(({ rows }) => rows.some(({ reward }) => reward !== undefined));
}

/** Returns a row for each prompt: in the order of the file, or the largest gain or the largest loss of reward first. */
export function rewardedRows(evaluations: readonly Evaluation[], order: Order): RewardedRow[] {
  const answers = new Map<number, RewardedAnswer[]>();
  for (const { step, rows } of evaluations) {
    for (const sample of rows) answers.set(sample.line, [...(answers.get(sample.line) ?? []), { step, sample }]);
  }
  const rows = [...answers].sort(([one], [other]) => one - other).map(rowOf);
  if (order === "file") return rows;
  const sign = order === "gain" ? -1 : 1;
  const position = ({ change }: RewardedRow) => (change === null ? Infinity : sign * change);
  return rows.sort((one, other) => (position(one) === position(other) ? 0 : position(one) - position(other)));
}

function rowOf([line, answers]: [number, RewardedAnswer[]]): RewardedRow {
  const rewards = answers.map(({ sample }) => sample.reward).filter((reward) => typeof reward === "number");
  const [first, last] = [rewards[0], rewards.at(-1)];
  const change = first !== undefined && last !== undefined && rewards.length > 1 ? last - first : null;
  return { line, prompt: answers[0]?.sample.prompt ?? "", answers, change };
}
