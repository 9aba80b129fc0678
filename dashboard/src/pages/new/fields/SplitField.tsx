import { useId } from "react";

import { SPLIT, TENTH, withValue } from "@/lib/newJob/draft";

import { CheckField } from "./CheckField";
import type { StepProps } from "./stepProps";

const HINT =
  "Without held-out rows nobody can tell whether the model learns or only repeats. Similar rows stay on one side. " +
  "Advanced takes another share, or a number of rows.";

/** Offers to hold out a tenth of the training file, if there is no validation file. */
export function SplitField({ draft, change }: StepProps) {
  const box = useId();
  if (draft.validation_file) return null;
  const split = draft.top[SPLIT];
  return (
    <CheckField
      path={SPLIT}
      id={box}
      label={`Hold out ${heldOut(split)} for validation`}
      name={SPLIT}
      hint={HINT}
      checked={split !== undefined}
      onChange={(checked) => change({ top: withValue(draft.top, SPLIT, checked ? TENTH : undefined) })}
    />
  );
}

/** Returns the rows that are held out, in words. */
function heldOut(split: unknown): string {
  if (typeof split !== "number" || split === TENTH) return "a tenth of the rows";
  return split < 1 ? `${split} of the rows` : `${split} rows`;
}
