import type { ComponentProps } from "react";

import { Labelled } from "./Labelled";

type Input = Pick<
  ComponentProps<"input">,
  "autoComplete" | "className" | "max" | "maxLength" | "min" | "pattern" | "placeholder" | "spellCheck" | "step" | "title"
>;

/** A field of a form, described by data. All values are texts: that of a number is what its field holds. */
export interface Field<Name extends string = string> extends Input {
  name: Name;
  label: string;
  type?: "number" | "password" | "url";
  /** The values to choose from, each with its words. A field without them takes text. */
  options?: readonly (readonly [value: string, words: string])[];
  /** The value at the beginning; without one, the first option or nothing. */
  initial?: string;
  isOptional?: boolean;
  /** Whether the field is there, given what the others hold. */
  isShown?: (values: Readonly<Record<Name, string>>) => boolean;
}

interface FieldsProps<Name extends string> {
  fields: readonly Field<Name>[];
  values: Readonly<Record<Name, string>>;
  onChange: (name: Name, value: string) => void;
}

/** The controls of the fields that are shown. */
export function Fields<Name extends string>({ fields, values, onChange }: FieldsProps<Name>) {
  return fields
    .filter(({ isShown }) => isShown?.(values) ?? true)
    .map((field) => (
      <Labelled key={field.name} label={field.label}>
        <Control {...field} value={values[field.name]} onChange={(value) => onChange(field.name, value)} />
      </Labelled>
    ));
}

interface ControlProps extends Input, Pick<Field, "type" | "options" | "isOptional"> {
  value: string;
  onChange: (value: string) => void;
}

function Control({ type, options, isOptional = false, value, onChange, className = "", ...input }: ControlProps) {
  const shared = { className: `field ${className}`, required: !isOptional, value };
  if (options) {
    return (
      <select {...shared} onChange={({ target }) => onChange(target.value)}>
        {options.map(([option, words]) => (
          <option key={option} value={option}>
            {words}
          </option>
        ))}
      </select>
    );
  }
  const { autoComplete = "off", max, maxLength, min, pattern, placeholder, spellCheck, step, title } = input;
  const limits = { max, maxLength, min, pattern, step };
  return (
    <input
      {...shared}
      {...limits}
      {...{ autoComplete, placeholder, spellCheck, title, type }}
      onChange={({ target }) => onChange(target.value)}
    />
  );
}
