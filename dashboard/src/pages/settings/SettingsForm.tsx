import type { ComponentProps, ReactNode, SubmitEvent } from "react";

import { Failure } from "@/parts/page/Notice";

interface FormProps {
  action: string;
  doing: { isPending: boolean; error: unknown };
  onSubmit: () => void;
  children: ReactNode;
}

/** Fields in a row where there is room, and what came of sending them. */
export function Form({ action, doing, onSubmit, children }: FormProps) {
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    onSubmit();
  };
  return (
    <form onSubmit={submit} className="grid gap-3 border-t border-line p-4">
      <div className="flex flex-wrap items-end gap-3">
        {children}
        <button type="submit" className="button button-primary" disabled={doing.isPending}>
          {action}
        </button>
      </div>
      {doing.error != null && <Failure asked error={doing.error} />}
    </form>
  );
}

export function Labelled({ label, className = "", children }: { label: string; className?: string; children: ReactNode }) {
  return (
    <label className={`grid gap-1 ${className}`}>
      <span className="fact">{label}</span>
      {children}
    </label>
  );
}

interface TextFieldProps extends Omit<ComponentProps<"input">, "value" | "onChange"> {
  label: string;
  value: string;
  onChange: (value: string) => void;
}

/** A line of text that must be there. */
export function TextField({ label, className = "", onChange, ...input }: TextFieldProps) {
  return (
    <Labelled label={label}>
      <input
        className={`field ${className}`}
        required
        autoComplete="off"
        onChange={(event) => onChange(event.target.value)}
        {...input}
      />
    </Labelled>
  );
}
