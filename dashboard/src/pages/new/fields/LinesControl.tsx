import { useState } from "react";

import type { ControlProps } from "./TextControl";

interface LinesControlProps extends ControlProps {
  /** Turn the lines into a value and back. */
  reading: (text: string) => unknown;
  writing: (value: unknown) => string;
  /** The number of lines that are visible. */
  rows?: number;
}

/** A text of several lines that stands for a value: a name and a value on each line, a text, or JSON. */
export function LinesControl({ control, value, onChange, reading, writing, rows = 2 }: LinesControlProps) {
  const [text, setText] = useState(writing(value));
  const shown = writing(reading(text)) === writing(value) ? text : writing(value);
  return (
    <textarea
      {...control}
      rows={rows}
      className="field font-mono text-xs aria-invalid:border-bad"
      spellCheck={false}
      value={shown}
      onChange={(event) => {
        setText(event.target.value);
        onChange(reading(event.target.value));
      }}
    />
  );
}
