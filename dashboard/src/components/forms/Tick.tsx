import type { ReactNode } from "react";

interface TickProps {
  id?: string;
  checked: boolean;
  disabled?: boolean;
  onChange: (checked: boolean) => void;
  children: ReactNode;
}

/** A checkbox with its label beside it. */
export function Tick({ onChange, children, ...input }: TickProps) {
  return (
    <label className="flex items-center gap-2">
      <input type="checkbox" className="size-4 accent-accent" onChange={({ target }) => onChange(target.checked)} {...input} />
      {children}
    </label>
  );
}
