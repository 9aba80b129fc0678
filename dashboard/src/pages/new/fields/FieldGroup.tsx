import type { ReactNode } from "react";

import { FieldNote } from "./FieldNote";
import { fieldId, useForm } from "./formContext";

interface FieldGroupProps {
  title: string;
  /** The path of the group in the request, to which its problems belong. */
  path: string;
  hint: string;
  /** Whether a problem with the path gives the focus to the group itself, and not to one of its fields. */
  takesFocus?: boolean;
  children: ReactNode;
}

/** A part of a step with a title, a hint, and what is wrong with it as a whole. */
export function FieldGroup({ title, path, hint, takesFocus = false, children }: FieldGroupProps) {
  const problem = useForm().problemAt(path, true);
  return (
    <fieldset
      {...(takesFocus && { id: fieldId(path), tabIndex: -1 })}
      className="grid min-w-0 grid-cols-1 gap-3 border-t border-line pt-5"
    >
      <legend className="float-left font-medium">{title}</legend>
      <div className="clear-both">
        <FieldNote hint={hint} problem={problem} />
      </div>
      {children}
    </fieldset>
  );
}
