import { type ReactNode, useId, useState } from "react";

import { FieldProblem } from "./FieldGroup";
import { fieldId, useForm } from "./formContext";

export interface Control {
  id: string;
  "aria-invalid": boolean;
  "aria-describedby": string;
}

interface FieldProps {
  path: string;
  label: string;
  /** Whether the label is the name of a parameter. */
  isName?: boolean;
  hint?: ReactNode;
  children: (control: Control) => ReactNode;
}

/** A control with its label, a hint, and what is wrong with its value. */
export function Field({ path, label, isName = false, hint, children }: FieldProps) {
  const { problemAt } = useForm();
  const [left, setLeft] = useState(false);
  const note = useId();
  const problem = problemAt(path, left);
  const control = { id: fieldId(path), "aria-invalid": problem !== undefined, "aria-describedby": note };
  return (
    <div className="grid min-w-0 content-start gap-1" onBlur={() => setLeft(true)}>
      <label htmlFor={control.id} className={isName ? "font-mono text-xs font-medium" : "font-medium"}>
        {label}
      </label>
      {children(control)}
      <div id={note} className="grid gap-0.5">
        <FieldProblem problem={problem} />
        {hint && <p className="fact">{hint}</p>}
      </div>
    </div>
  );
}
