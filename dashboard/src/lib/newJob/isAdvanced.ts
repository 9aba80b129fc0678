import { type Draft, SPLIT, TENTH } from "./draft";
import { BASIC_HYPERPARAMETERS, BASIC_OPTIONS, LEARNING_RATE } from "./fieldWords";
import { recipeOf } from "./recipes";

/** Returns whether the draft sets anything that the form shows under Advanced, other than a recipe does. */
export function isAdvanced(draft: Draft): boolean {
  const { tried, integrations, metadata, top, training, hyperparameters, beside, options, adapter } = draft;
  if (tried || integrations.length || metadata.length || top.seed !== undefined || top.augmentation || beside.response_format) return true;
  if (![undefined, TENTH].includes(top[SPLIT] as number | undefined)) return true;
  if (recipeOf(draft)) return false;
  const names = (values: object = {}) => Object.keys(values);
  return (
    names(training).some((name) => name !== LEARNING_RATE) ||
    names(hyperparameters).some((name) => !BASIC_HYPERPARAMETERS.has(name)) ||
    names(options[adapter]).some((name) => !BASIC_OPTIONS.has(name))
  );
}
