/** What becomes of all that is left to the service, as far as the API tells before the job is created. */

import { type Draft, hyperparametersPath, methodOf, objectiveSchema, type Offer, optionsSchema, triedOf, type Values } from "./draft";
import type { Schema } from "@/lib/schemas/schema";
import { schemaFields } from "@/lib/schemas/schemaFields";

interface Auto {
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
  const tried = triedOf(draft, offer);
  const found = [
    ...autosWithin(draft.hyperparameters, objectiveSchema(draft, offer), hyperparametersPath(draft)),
    ...training,
    ...autosWithin(draft.options[draft.adapter] ?? {}, optionsSchema(draft, offer), "adapter"),
    ...(draft.top.seed === undefined ? [{ path: "seed", becomes: "drawn at random", later: true }] : []),
  ];
  return found.filter(({ path }) => !(path in tried));
}

/** Of options that are automatic, or follow an automatic rank: those whose description says what they come to. */
function autosWithin(values: Values, schema: Schema, path: string): Auto[] {
  return schemaFields(schema).flatMap(({ name, schema: option, kind }) => {
    const value = values[name] ?? option.default ?? null;
    const follows = values.r === "auto" && values[name] === undefined;
    const says = value === "auto" ? /^`auto`/ : value === null ? /^null( is|:)/i : follows ? /^with an automatic rank/ : null;
    if (says === null || kind === "group") return [];
    const rule = ruleIn(option.description ?? "", says);
    return rule === null ? [] : [{ path: `${path}.${name}`, becomes: rule, later: true }];
  });
}

function ruleIn(description: string, says: RegExp): string | null {
  const clause = description.split(/; |\. /).find((one) => says.test(one));
  return clause === undefined ? null : clause.replace(says, "").replace(/^ is /, " ").trim();
}
