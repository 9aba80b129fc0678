import { useId } from "react";

import { SPLIT, TENTH, withValue } from "@/lib/newJob/draft";

import { FieldNote } from "./FieldNote";
import { useForm } from "./formContext";
import type { StepProps } from "./stepProps";

const HINT =
  "Without held-out rows nobody can tell whether the model learns or only repeats. Similar rows stay on one side. " +
  "Advanced takes another share, or a number of rows.";

/** Offers to hold out a tenth of the training file, if there is no validation file. */
export function SplitField({ draft, change }: StepProps) {
  const problem = useForm().problemAt(SPLIT, true);
  const [box, note] = [useId(), useId()];
  if (draft.validation_file) return null;
  const split = draft.top[SPLIT];
  return (
    <div className="grid grid-cols-[auto_1fr] content-start gap-x-2 gap-y-1">
      <input
        id={box}
        type="checkbox"
        className="mt-0.5 size-4 accent-accent"
        aria-describedby={note}
        aria-invalid={problem !== undefined}
        checked={split !== undefined}
        onChange={({ target }) => change({ top: withValue(draft.top, SPLIT, target.checked ? TENTH : undefined) })}
      />
      <label htmlFor={box} className="font-medium">
        Hold out {heldOut(split)} for validation{" "}
        <code className="ml-1 font-mono text-xs font-normal text-muted">{SPLIT}</code>
      </label>
      <div className="col-start-2">
        <FieldNote id={note} hint={HINT} problem={problem} />
      </div>
    </div>
  );
}

/** Returns the rows that are held out, in words. */
function heldOut(split: unknown): string {
  if (typeof split !== "number" || split === TENTH) return "a tenth of the rows";
  return split < 1 ? `${split} of the rows` : `${split} rows`;
}
