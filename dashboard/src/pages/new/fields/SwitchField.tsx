import { fieldWords } from "@/lib/newJob/fieldWords";
import type { Schema } from "@/lib/schemas/schema";

import { CheckField } from "./CheckField";

interface SwitchFieldProps {
  path: string;
  name: string;
  schema: Schema;
  value: unknown;
  onChange: (value: unknown) => void;
}

/** A checkbox for an option that is true or false. */
export function SwitchField({ path, name, schema, value, onChange }: SwitchFieldProps) {
  const usual = schema.default === true;
  return (
    <CheckField
      path={path}
      label={fieldWords(name)}
      name={name}
      checked={typeof value === "boolean" ? value : usual}
      onChange={(checked) => onChange(checked === usual ? undefined : checked)}
      {...(schema.description !== undefined && { hint: schema.description })}
    />
  );
}
