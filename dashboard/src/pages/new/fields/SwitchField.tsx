import { useId } from "react";

import { fieldWords } from "@/lib/newJob/fieldWords";
import type { Schema } from "@/lib/schemas/schema";

import { FieldNote } from "./FieldNote";
import { fieldId, useForm } from "./formContext";

interface SwitchFieldProps {
  path: string;
  name: string;
  schema: Schema;
  value: unknown;
  onChange: (value: unknown) => void;
}

/** A checkbox for an option that is true or false. */
export function SwitchField({ path, name, schema, value, onChange }: SwitchFieldProps) {
  const { problemAt } = useForm();
  const note = useId();
  const problem = problemAt(path, true);
  const usual = schema.default === true;
  return (
    <div className="grid grid-cols-[auto_1fr] content-start gap-x-2 gap-y-1">
      <input
        id={fieldId(path)}
        type="checkbox"
        className="mt-0.5 size-4 accent-accent"
        aria-describedby={note}
        aria-invalid={problem !== undefined}
        checked={typeof value === "boolean" ? value : usual}
        onChange={({ target }) => onChange(target.checked === usual ? undefined : target.checked)}
      />
      <label htmlFor={fieldId(path)} className="font-medium">
        {fieldWords(name)}{" "}
        <code className="ml-1 font-mono text-xs font-normal text-muted">{name}</code>
      </label>
      <div className="col-start-2">
        <FieldNote id={note} hint={schema.description} problem={problem} />
      </div>
    </div>
  );
}
