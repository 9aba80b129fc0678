import { useState } from "react";

import { literals, type Schema } from "@/lib/schemas/schema";
import { defaultText, isNumeric, parse, write } from "@/lib/schemas/schemaFields";

import type { Control } from "./Field";

export interface ControlProps {
  control: Control;
  schema: Schema;
  value: unknown;
  onChange: (value: unknown) => void;
}

interface TextControlProps extends ControlProps {
  /** Turn the text into a value and back. Without them, the functions of `schemaFields` do it. */
  reading?: (text: string, schema: Schema) => unknown;
  writing?: (value: unknown) => string;
}

/** A field for a number, a list or a text. The default is its placeholder. Named values are buttons beside it. */
export function TextControl(props: TextControlProps) {
  const { control, schema, value, onChange, reading = parse, writing = write } = props;
  const [text, setText] = useState(writing(value));
  // The typed text is kept while it stands for the value, so that `1.` does not become `1` during typing.
  const shown = writing(reading(text, schema)) === writing(value) ? text : writing(value);
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
          onChange(reading(event.target.value, schema));
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
