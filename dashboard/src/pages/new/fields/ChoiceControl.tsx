import { useState } from "react";

import { literals } from "@/lib/schemas/schema";
import { isOpen, write } from "@/lib/schemas/schemaFields";

import type { ControlProps } from "./TextControl";

const OTHER = "other…";

/** Chooses one of the named values. If other values are allowed too, there is a field for them. */
export function ChoiceControl({ control, schema, value, onChange }: ControlProps) {
  const usual = schema.default ?? null;
  const named = literals(schema);
  const now = value === undefined ? usual : value;
  const [writing, setWriting] = useState(false);
  // A value that is being typed may be a named value for a moment: `pissa` on the way to `pissa_niter_4`.
  const other = (writing && value !== undefined) || !named.includes(now);
  const choose = (text: string) => {
    setWriting(text === OTHER);
    const chosen = text === OTHER ? "" : named.find((one) => String(one) === text);
    onChange(chosen === usual ? undefined : chosen);
  };
  return (
    <div className="flex gap-1">
      <select
        {...control}
        className="field min-w-0 flex-1 font-mono aria-invalid:border-bad"
        value={other ? OTHER : String(now)}
        onChange={(event) => choose(event.target.value)}
      >
        {named.map((one) => (
          <option key={String(one)} value={String(one)}>
            {one === null ? "none" : String(one)}
            {one === usual && one !== null ? " (default)" : ""}
          </option>
        ))}
        {isOpen(schema) && <option>{OTHER}</option>}
      </select>
      {other && (
        <input
          className="field min-w-0 flex-1 font-mono"
          aria-label="Another value"
          autoComplete="off"
          spellCheck={false}
          value={write(value)}
          onChange={(event) => onChange(event.target.value)}
        />
      )}
    </div>
  );
}
