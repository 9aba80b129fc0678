import type { Measured, Result } from "@/lib/jobs/comparison";
import { duration, integer, significant } from "@/lib/text/format";

export interface Metric {
  key: keyof Result;
  label: string;
  format: (value: number | null) => string;
  /** Whether the difference to the baseline is written in per cent, and not in the unit of the metric. */
  isRelative: boolean;
  /** Which of two values is better; left out if neither is. */
  better?: "lower" | "higher";
  /** The kind of result, if two values can be judged only where certain settings are the same. */
  measured?: Measured;
}

export const METRICS: readonly Metric[] = [
  { key: "bestLoss", label: "Best val. loss", format: significant, isRelative: false, better: "lower", measured: "loss" },
  { key: "tokensPerSecond", label: "Tokens/s, median", format: significant, isRelative: true, better: "higher", measured: "speed" },
  { key: "seconds", label: "Duration", format: duration, isRelative: true },
  { key: "trainedTokens", label: "Trained tokens", format: integer, isRelative: true },
];
