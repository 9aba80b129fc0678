import type { ComponentProps, ReactNode, SubmitEvent } from "react";

import { Failure } from "@/parts/page/Notice";

interface SettingsFormProps {
  /** The label of the button that sends the form. */
  action: string;
  mutation: { isPending: boolean; error: unknown };
  onSubmit: () => void;
  children: ReactNode;
}

/** A form with its fields in one row, if there is room. It shows why sending failed. */
export function SettingsForm({ action, mutation, onSubmit, children }: SettingsFormProps) {
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    onSubmit();
  };
  return (
    <form onSubmit={submit} className="grid gap-3 border-t border-line p-4">
      <div className="flex flex-wrap items-end gap-3">
        {children}
        <button type="submit" className="button button-primary" disabled={mutation.isPending}>
          {action}
        </button>
      </div>
      {mutation.error != null && <Failure asked error={mutation.error} />}
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

/** A required line of text. */
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
