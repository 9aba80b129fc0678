/** Starting points for usual tasks. A recipe sets what fits its task, and leaves the rest to the service. */

import type { Draft, Offer, Values } from "./draft";

export interface Recipe {
  id: string;
  title: string;
  /** What a row looks like. */
  rows: string;
  objective: string;
  rank: number;
  hyperparameters: Values;
  training: Values;
}

export const RECIPES: readonly Recipe[] = [
  {
    id: "chat",
    title: "Chat assistant",
    rows: "Conversations with the answers that you want",
    objective: "supervised",
    rank: 16,
    hyperparameters: { n_epochs: 3 },
    training: { eval_max_new_tokens: 128 },
  },
  {
    id: "classification",
    title: "Classification",
    rows: "A text, answered by the name of its class",
    objective: "supervised",
    rank: 8,
    hyperparameters: { n_epochs: 3 },
    training: { eval_max_new_tokens: 16 },
  },
  {
    id: "json",
    title: "JSON extraction",
    rows: "A text, answered by a JSON record",
    objective: "supervised",
    rank: 16,
    hyperparameters: { n_epochs: 3 },
    training: { eval_max_new_tokens: 256 },
  },
  {
    id: "sql",
    title: "Text to SQL",
    rows: "Tables and a question, answered by a query",
    objective: "supervised",
    rank: 32,
    hyperparameters: { n_epochs: 2 },
    training: { eval_max_new_tokens: 128 },
  },
  {
    id: "preferences",
    title: "Preferences",
    rows: "A prompt with a better and a worse answer",
    objective: "dpo",
    rank: 16,
    hyperparameters: { n_epochs: 1, learning_rate_multiplier: 1 },
    training: { learning_rate: 5e-5 },
  },
  {
    id: "rewards",
    title: "Rewards",
    rows: "Prompts without answers; a grader rewards what the model answers",
    objective: "reinforcement",
    rank: 16,
    hyperparameters: {},
    training: {},
  },
  {
    id: "style",
    title: "Style",
    rows: "Prompts, answered in the voice that you want",
    objective: "supervised",
    rank: 8,
    hyperparameters: { n_epochs: 2 },
    training: { eval_max_new_tokens: 128, weight_decay: 0.01 },
  },
];

/** Returns the recipes whose objective the service offers. */
export function offeredRecipes({ schemas, methods }: Offer): Recipe[] {
  if (!methods.some(({ id }) => id === "lora")) return [];
  return RECIPES.filter(({ objective }) => objective in schemas.objectives);
}

/** Returns what a recipe changes of a draft: the method. Model, files and names stay. */
export function filledBy({ objective, rank, hyperparameters, training }: Recipe): Partial<Draft> {
  return { objective, hyperparameters, adapter: "lora", options: { lora: { r: rank } }, training };
}

/** Returns the recipe that the draft follows now. */
export function recipeOf(draft: Draft): Recipe | undefined {
  const now = (one: Partial<Draft>) =>
    JSON.stringify([one.objective, one.hyperparameters, one.adapter, one.options?.lora, one.training]);
  return RECIPES.find((recipe) => now(filledBy(recipe)) === now(draft));
}
