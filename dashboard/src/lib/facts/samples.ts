/** The answers of a job's model at its evaluations, which the events of type `samples` hold. */

import { integer } from "@/lib/text/format";
import type { JobEvent } from "@/types/api";

export interface Sample {
  readonly line: number;
  readonly prompt: string;
  /** The answer in the file; null if that is an answer to avoid. */
  readonly expected: string | null;
  readonly answer: string;
  /** Whether the model ended the answer itself. */
  readonly finished: boolean;
  /** Why the answer breaks off, if not because it is too long. */
  readonly error?: string;
  /** The reward that the job's grader gave; null if it failed. Only jobs that learn from rewards have it. */
  readonly reward?: number | null;
  /** The reward of a grader that the job does not learn from. */
  readonly audit?: number | null;
  /** Why the grader or the teacher failed, and why the audit did. */
  readonly grade_error?: string;
  readonly audit_error?: string;
  /** How far the answer is from the teacher, in nats per token; null if the teacher failed. Only distillation has it. */
  readonly reverse_kl?: number | null;
}

/** The samples that a job's model answered at one step. */
export interface Evaluation {
  readonly step: number;
  readonly rows: readonly Sample[];
}

/** Returns one evaluation for each step that has samples, in the order of the steps. */
export function samplesOf(events: Iterable<JobEvent>): readonly Evaluation[] {
  const found = new Map<number, Evaluation>();
  for (const { type, data } of events) {
    if (type !== "samples" || typeof data?.step !== "number" || !Array.isArray(data.rows)) continue;
    found.set(data.step, { step: data.step, rows: data.rows as Sample[] });
  }
  return [...found.values()].sort((one, other) => one.step - other.step);
}

/** Returns whether the answer is the expected one, apart from white space at its ends. */
export function matches({ expected, answer }: Sample): boolean {
  return expected !== null && expected.trim() === answer.trim();
}

/** Returns the answers before the first step, if the job has them. */
export function beginningOf(evaluations: readonly Evaluation[]): Evaluation | undefined {
  return evaluations[0]?.step === 0 ? evaluations[0] : undefined;
}

/** Returns how many answers are the expected ones, of those that have an expected one. */
export function countMatches({ rows }: Evaluation): { right: number; of: number } {
  const judged = rows.filter(({ expected }) => expected !== null);
  return { right: judged.filter(matches).length, of: judged.length };
}

/** Says how many answers are exactly as expected, before the training and at another evaluation. */
export function matchWords(before: Evaluation | undefined, shown: Evaluation): string {
  const { right, of } = countMatches(shown);
  if (!of) return "These rows have no expected answer.";
  const after = shown.step === 0 ? "before training" : `after step ${integer(shown.step)}`;
  if (!before || before === shown) return `${right} of ${of} exactly as expected ${after}.`;
  return `Exactly as expected: ${countMatches(before).right} of ${of} before training, ${right} of ${of} ${after}.`;
}

export interface AnsweredRow {
  sample: Sample;
  /** The answer to the same row before the first step. */
  first: Sample | undefined;
}

export function answeredRows(before: Evaluation | undefined, shown: Evaluation): AnsweredRow[] {
  const first = new Map(before?.rows.map((sample) => [sample.line, sample]));
  return shown.rows.map((sample) => ({ sample, first: first.get(sample.line) }));
}

/** A prompt with the answer of each job; undefined where a job was not asked. */
export interface ComparedRow {
  prompt: string;
  expected: string | null;
  answers: (Sample | undefined)[];
}

/** Returns a row for each prompt that any of the jobs has answered. */
export function comparedRows(evaluations: readonly (Evaluation | undefined)[]): ComparedRow[] {
  const rows = new Map<string, ComparedRow>();
  evaluations.forEach((evaluation, at) => {
    for (const sample of evaluation?.rows ?? []) {
      const { prompt, expected } = sample;
      const key = JSON.stringify([prompt, expected]);
      const row = rows.get(key) ?? { prompt, expected, answers: evaluations.map(() => undefined) };
      row.answers[at] = sample;
      rows.set(key, row);
    }
  });
  return [...rows.values()];
}
