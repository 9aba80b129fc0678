/** The values that the service chooses, as far as they are known before the job is created. */

import type { Schema } from "@/lib/schemas/schema";
import { schemaFields } from "@/lib/schemas/schemaFields";

import {
  type Draft,
  hyperparametersPath,
  methodOf,
  objectiveSchema,
  type Offer,
  optionsSchema,
  triedOf,
  type Values,
} from "./draft";

interface AutomaticValue {
  path: string;
  /** The value, or the rule in the API's words. */
  becomes: string;
  /** Whether the value is known only after the job is created. */
  isLater: boolean;
}

/** Returns the settings of a draft that the service chooses. */
export function automaticValuesOf(draft: Draft, offer: Offer): AutomaticValue[] {
  const method = methodOf(draft, offer);
  const training = automaticWithin(draft.training, offer.schemas.training, "training").map((one) =>
    one.path === "training.learning_rate" && method
      ? { ...one, becomes: `${method.learning_rate}, the default of ${method.title}`, isLater: false }
      : one,
  );
  const tried = triedOf(draft, offer);
  const found = [
    ...automaticWithin(draft.hyperparameters, objectiveSchema(draft, offer), hyperparametersPath(draft)),
    ...training,
    ...automaticWithin(draft.options[draft.adapter] ?? {}, optionsSchema(draft, offer), "adapter"),
    ...(draft.top.seed === undefined ? [{ path: "seed", becomes: "drawn at random", isLater: true }] : []),
  ];
  return found.filter(({ path }) => !(path in tried));
}

/** Returns the options that are automatic, or follow an automatic rank, and whose description says their rule. */
function automaticWithin(values: Values, schema: Schema, path: string): AutomaticValue[] {
  return schemaFields(schema).flatMap(({ name, schema: option, kind }) => {
    const value = values[name] ?? option.default ?? null;
    const follows = values.r === "auto" && values[name] === undefined;
    const says = value === "auto" ? /^`auto`/ : value === null ? /^null( is|:)/i : follows ? /^with an automatic rank/ : null;
    if (says === null || kind === "group") return [];
    const rule = ruleIn(option.description ?? "", says);
    return rule === null ? [] : [{ path: `${path}.${name}`, becomes: rule, isLater: true }];
  });
}

function ruleIn(description: string, says: RegExp): string | null {
  const clause = description.split(/; |\. /).find((one) => says.test(one));
  return clause === undefined ? null : clause.replace(says, "").replace(/^ is /, " ").trim();
}
