import type { Result } from "@/lib/jobs/comparison";
import { duration, integer, significant } from "@/lib/text/format";

export interface Measure {
  key: keyof Result;
  label: string;
  format: (value: number | null) => string;
  /** How far it is off the baseline is told in per cent, else in its own unit. */
  relative: boolean;
  /** Which is the better one; left out where neither is. */
  better?: "lower" | "higher";
  /** It is measured by the model, the file and the objective. */
  isLoss?: true;
}

export const MEASURES: readonly Measure[] = [
  { key: "bestLoss", label: "Best val. loss", format: significant, relative: false, better: "lower", isLoss: true },
  { key: "tokensPerSecond", label: "Tokens/s, median", format: significant, relative: true, better: "higher" },
  { key: "seconds", label: "Duration", format: duration, relative: true },
  { key: "trainedTokens", label: "Trained tokens", format: integer, relative: true },
];
