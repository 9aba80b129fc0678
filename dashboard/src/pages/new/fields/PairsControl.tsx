import { useState } from "react";

import { parsePairs, writePairs } from "@/lib/schemas/schemaFields";

import type { ControlProps } from "./TextControl";

/** A text with a name and a value on each line. */
export function PairsControl({ control, schema, value, onChange }: ControlProps) {
  const [text, setText] = useState(writePairs(value));
  const shown = writePairs(parsePairs(text, schema)) === writePairs(value) ? text : writePairs(value);
  return (
    <textarea
      {...control}
      rows={2}
      className="field font-mono text-xs aria-invalid:border-bad"
      spellCheck={false}
      value={shown}
      onChange={(event) => {
        setText(event.target.value);
        onChange(parsePairs(event.target.value, schema));
      }}
    />
  );
}
