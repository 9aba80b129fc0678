import { type ReactNode, useId } from "react";

import { FieldNote } from "./FieldNote";
import { fieldId, useForm } from "./formContext";

interface CheckFieldProps {
  path: string;
  /** The id of the box, where another field has that of the path. */
  id?: string;
  label: ReactNode;
  /** The name in the request. */
  name?: string;
  hint?: string;
  checked: boolean;
  onChange: (checked: boolean) => void;
}

/** A checkbox with its label, and with its hint or its problem below. */
export function CheckField({ path, id = fieldId(path), label, name, hint, checked, onChange }: CheckFieldProps) {
  const problem = useForm().problemAt(path, true);
  const note = useId();
  return (
    <div className="grid grid-cols-[auto_1fr] content-start gap-x-2 gap-y-1">
      <input
        id={id}
        type="checkbox"
        className="mt-0.5 size-4 accent-accent"
        aria-describedby={note}
        aria-invalid={problem !== undefined}
        checked={checked}
        onChange={({ target }) => onChange(target.checked)}
      />
      <label htmlFor={id} className="font-medium">
        {label} {name !== undefined && <code className="ml-1 font-mono text-xs font-normal text-muted">{name}</code>}
      </label>
      <div className="col-start-2">
        <FieldNote id={note} problem={problem} {...(hint !== undefined && { hint })} />
      </div>
    </div>
  );
}
