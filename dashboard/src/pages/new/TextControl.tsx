import { useState } from "react";

import { literals, type Schema } from "@/lib/schema";
import { defaultText, isNumeric, parse, write } from "@/lib/schemaFields";

import type { Control } from "./Field";

export interface ControlProps {
  control: Control;
  schema: Schema;
  value: unknown;
  onChange: (value: unknown) => void;
}

/** A number, a list or a text. Its default is the placeholder; values that have a name are buttons beside. */
export function TextControl({ control, schema, value, onChange }: ControlProps) {
  const [text, setText] = useState(write(value));
  // While somebody types, `1.` is not made `1`.
  const shown = write(parse(text, schema)) === write(value) ? text : write(value);
  const usual = schema.default;
  const named = literals(schema).filter((one) => typeof one === "string" && one !== usual);
  return (
    <div className="flex gap-1">
      <input
        {...control}
        className="field min-w-0 flex-1 font-mono placeholder:italic aria-invalid:border-bad"
        inputMode={isNumeric(schema) && !named.length ? "decimal" : "text"}
        autoComplete="off"
        autoCapitalize="off"
        spellCheck={false}
        placeholder={defaultText(schema)}
        value={shown}
        onChange={(event) => {
          setText(event.target.value);
          onChange(parse(event.target.value, schema));
        }}
      />
      {named.map((one) => (
        <button
          key={String(one)}
          type="button"
          className="button px-2 font-mono text-xs aria-pressed:border-accent aria-pressed:bg-tint aria-pressed:text-accent"
          aria-pressed={value === one}
          onClick={() => onChange(value === one ? undefined : one)}
        >
          {String(one)}
        </button>
      ))}
    </div>
  );
}
