/** The answers of a job that learns from them: to each prompt, those of all validations. */

import type { Evaluation, Sample } from "@/lib/facts/samples";

export const ORDERS = ["file", "gain", "loss"] as const;
export type Order = (typeof ORDERS)[number];

interface JudgedAnswer {
  step: number;
  sample: Sample;
}

export interface JudgedRow {
  line: number;
  prompt: string;
  /** By step, so the model before training comes first. */
  answers: JudgedAnswer[];
  /** The last judgement minus the first; null if there are not two. */
  change: number | null;
}

/** What an answer is judged by: the reward of a grader, or how far it is from a teacher, of which less is better. */
export interface Judgement {
  of: "reward" | "reverse_kl";
  words: string;
  /** 1 if more is better, else -1. */
  sign: 1 | -1;
}

const JUDGEMENTS: readonly Judgement[] = [
  { of: "reward", words: "reward", sign: 1 },
  { of: "reverse_kl", words: "reverse KL", sign: -1 },
];

/** Returns what the answers are judged by; undefined if nothing has judged any of them. */
export function judgementOf(evaluations: readonly Evaluation[]): Judgement | undefined {
  return JUDGEMENTS.find(({ of }) => evaluations.some(({ rows }) => rows.some((sample) => sample[of] !== undefined)));
}

/** Returns a row for each prompt: in the order of the file, or what became better or worse most first. */
export function judgedRows(evaluations: readonly Evaluation[], by: Judgement, order: Order): JudgedRow[] {
  const answers = new Map<number, JudgedAnswer[]>();
  for (const { step, rows } of evaluations) {
    for (const sample of rows) answers.set(sample.line, [...(answers.get(sample.line) ?? []), { step, sample }]);
  }
  const rows = [...answers].sort(([one], [other]) => one - other).map(([line, found]) => rowOf(line, found, by));
  if (order === "file") return rows;
  const sign = order === "gain" ? -by.sign : by.sign;
  const position = ({ change }: JudgedRow) => (change === null ? Infinity : sign * change);
  return rows.sort((one, other) => (position(one) === position(other) ? 0 : position(one) - position(other)));
}

function rowOf(line: number, answers: JudgedAnswer[], { of }: Judgement): JudgedRow {
  const judged = answers.map(({ sample }) => sample[of]).filter((value) => typeof value === "number");
  const [first, last] = [judged[0], judged.at(-1)];
  const change = first !== undefined && last !== undefined && judged.length > 1 ? last - first : null;
  return { line, prompt: answers[0]?.sample.prompt ?? "", answers, change };
}
