/** The learning rate of a job and OpenAI's multiplier of it are one value: the peak of the schedule. */

import type { Draft } from "./draft";

interface PeakLearningRate {
  /** The product; null if one of the two is not a number yet. */
  peak: number | null;
  multiplier: number;
  /** Whether the multiplier is what "auto" becomes for the objective. */
  isUsual: boolean;
}

/** What an automatic multiplier becomes. Preferences train at a tenth of the usual rates. */
const MULTIPLIERS: Record<string, number> = { supervised: 1, distillation: 0.5, reinforcement: 0.2 };
const usualMultiplier = (objective: string) => MULTIPLIERS[objective] ?? 0.1;

/** Returns the highest rate of the schedule: `learning_rate` times `learning_rate_multiplier`. */
export function peakLearningRate(draft: Draft, usual: number | undefined): PeakLearningRate {
  const { objective, training, hyperparameters } = draft;
  const rate = training.learning_rate ?? usual;
  const asked = hyperparameters.learning_rate_multiplier;
  const isUsual = typeof asked !== "number";
  const multiplier = isUsual ? usualMultiplier(objective) : asked;
  return { peak: typeof rate === "number" ? rate * multiplier : null, multiplier, isUsual };
}
