/** What becomes of all that is left to the service, as far as the API tells before the job is created. */

import { type Draft, hyperparametersPath, methodOf, objectiveSchema, type Offer, optionsSchema, type Values } from "./draft";
import type { Schema } from "./schema";
import { schemaFields } from "./schemaFields";

export interface Auto {
  path: string;
  /** A value, or the rule in the API's words. */
  becomes: string;
  /** Whether only the created job says what it came to. */
  later: boolean;
}

export function autosOf(draft: Draft, offer: Offer): Auto[] {
  const method = methodOf(draft, offer);
  const training = autosWithin(draft.training, offer.schemas.training, "training").map((auto) =>
    auto.path === "training.learning_rate" && method
      ? { ...auto, becomes: `${method.learning_rate}, as usual for ${method.title}`, later: false }
      : auto,
  );
  return [
    ...autosWithin(draft.hyperparameters, objectiveSchema(draft, offer), hyperparametersPath(draft)),
    ...training,
    ...autosWithin(draft.options[draft.adapter] ?? {}, optionsSchema(draft, offer), "adapter"),
    ...(draft.top.seed === undefined ? [{ path: "seed", becomes: "drawn at random", later: true }] : []),
  ];
}

/** Of options that are automatic: those whose description says what `auto`, or null, comes to. */
function autosWithin(values: Values, schema: Schema, path: string): Auto[] {
  return schemaFields(schema).flatMap(({ name, schema: option }) => {
    const value = values[name] ?? option.default ?? null;
    if (value !== "auto" && value !== null) return [];
    const rule = ruleIn(option.description ?? "", value === null ? /^null( is|:)/i : /^`auto`/);
    return rule === null ? [] : [{ path: `${path}.${name}`, becomes: rule, later: true }];
  });
}

function ruleIn(description: string, says: RegExp): string | null {
  const clause = description.split(/; |\. /).find((one) => says.test(one));
  return clause === undefined ? null : clause.replace(says, "").replace(/^ is /, " ").trim();
}
