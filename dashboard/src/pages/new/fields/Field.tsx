import { type ReactNode, useId, useState } from "react";

import { afterPointer } from "./afterPointer";
import { FieldNote } from "./FieldNote";
import { fieldId, useForm } from "./formContext";

export interface Control {
  id: string;
  "aria-invalid": boolean;
  "aria-describedby": string;
}

interface FieldProps {
  path: string;
  label: string;
  /** The name of the parameter, shown beside the label. */
  name?: string;
  hint?: string;
  children: (control: Control) => ReactNode;
}

/** A control with its label, a hint, and what is wrong with its value. */
export function Field({ path, label, name, hint, children }: FieldProps) {
  const { problemAt } = useForm();
  const [left, setLeft] = useState(false);
  const note = useId();
  const problem = problemAt(path, left);
  const control = { id: fieldId(path), "aria-invalid": problem !== undefined, "aria-describedby": note };
  return (
    <div className="grid min-w-0 grid-cols-1 content-start gap-1" onBlur={() => afterPointer(() => setLeft(true))}>
      <label htmlFor={control.id} className="font-medium">
        {label}{" "}
        {name !== undefined && <code className="ml-1 font-mono text-xs font-normal text-muted">{name}</code>}
      </label>
      {children(control)}
      <FieldNote id={note} hint={hint} problem={problem} />
    </div>
  );
}
