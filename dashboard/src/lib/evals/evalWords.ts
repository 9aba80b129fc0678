/** What an eval found, in words. */

import { counted, NOTHING, roughly, significant } from "@/lib/text/format";
import type { CriterionComparison, CriterionResult, EvalRun } from "@/types/api";

interface Interval {
  low: number | null;
  high: number | null;
}

/** The status of the task that does the run: the icons and colours are those of jobs. */
const STATUSES: Record<EvalRun["status"], string> = {
  queued: "queued",
  in_progress: "running",
  completed: "succeeded",
  failed: "failed",
  canceled: "cancelled",
};

export const runStatus = ({ status }: EvalRun): string => STATUSES[status];

/** `0.71 to 0.86`; null if the rows are too few for an interval. */
export function intervalWords({ low, high }: Interval): string | null {
  return low === null || high === null ? null : `${end(low)} to ${end(high)}`;
}

const end = (value: number): string => significant(value).replace(/^-/, "−");

/** What several samples of each row say: `pass@8 0.61`, the rows without variance, and the verdict. */
export function samplesWords({ sampled }: CriterionResult): string[] {
  if (!sampled) return [];
  const passed = Object.entries(sampled.pass_at_k ?? {}).at(-1);
  return [
    ...(passed ? [`pass@${passed[0]} ${significant(passed[1])}`] : []),
    `${sampled.rows_without_variance} of ${counted(sampled.rows, "row")} without variance`,
    sampled.verdict.replaceAll("_", " "),
  ];
}

/** Writes a difference with its sign. */
export function signed(value: number | null): string {
  if (value === null) return NOTHING;
  if (value === 0) return "0";
  return `${value < 0 ? "−" : "+"}${roughly(Math.abs(value))}`;
}

/** Writes how likely the difference would be by chance. */
export function pWords(value: number | null): string {
  if (value === null) return NOTHING;
  return value < 0.001 ? "< 0.001" : String(Number(value.toPrecision(2)));
}

const VERDICTS: Record<CriterionComparison["verdict"], string> = {
  better: "better",
  worse: "worse",
  no_clear_difference: "no clear difference",
};

export const verdictWords = ({ verdict }: CriterionComparison): string => VERDICTS[verdict];
