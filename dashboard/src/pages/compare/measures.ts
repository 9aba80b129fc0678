import type { Result } from "@/lib/jobs/comparison";
import { duration, integer, significant } from "@/lib/text/format";

export interface Measure {
  key: keyof Result;
  label: string;
  format: (value: number | null) => string;
  /** Whether the difference to the baseline is written in per cent, and not in the unit of the measure. */
  isRelative: boolean;
  /** Which of two values is better; left out if neither is. */
  better?: "lower" | "higher";
  /** Whether two values can be compared only for the same model, validation file and objective. */
  isLoss?: true;
}

export const MEASURES: readonly Measure[] = [
  { key: "bestLoss", label: "Best val. loss", format: significant, isRelative: false, better: "lower", isLoss: true },
  { key: "tokensPerSecond", label: "Tokens/s, median", format: significant, isRelative: true, better: "higher" },
  { key: "seconds", label: "Duration", format: duration, isRelative: true },
  { key: "trainedTokens", label: "Trained tokens", format: integer, isRelative: true },
];
