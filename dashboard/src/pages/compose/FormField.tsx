import type { ReactNode } from "react";

/** A control with its label above. */
export function FormField({ label, children }: { label: string; children: ReactNode }) {
  return (
    <label className="grid gap-1">
      <span className="fact">{label}</span>
      {children}
    </label>
  );
}

interface NumberFieldProps {
  label: string;
  value: string;
  min: number;
  max: number;
  /** The distance of two values; "any" for a number that need not be whole. */
  step?: number | "any";
  onChange: (value: string) => void;
}

/** A number that may be left empty. */
export function NumberField({ label, value, onChange, step = 1, ...range }: NumberFieldProps) {
  return (
    <FormField label={label}>
      <input
        className="field w-40"
        type="number"
        step={step}
        value={value}
        onChange={({ target }) => onChange(target.value)}
        {...range}
      />
    </FormField>
  );
}
