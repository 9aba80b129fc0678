import type { ReactNode } from "react";

import { isRecord } from "@/lib/isRecord";
import { type Values, withValue } from "@/lib/newJob/draft";
import { fieldWords } from "@/lib/newJob/fieldWords";
import type { Schema } from "@/lib/schemas/schema";
import {
  groupSchema,
  parsePairs,
  parseTexts,
  type SchemaField,
  schemaFields,
  writePairs,
  writeTexts,
} from "@/lib/schemas/schemaFields";
import { words } from "@/lib/schemas/schemaWords";
import { Prose } from "@/components/basics/Prose";

import { ChoiceControl } from "./ChoiceControl";
import { Field } from "./Field";
import { LinesControl } from "./LinesControl";
import { SwitchField } from "./SwitchField";
import { TextControl } from "./TextControl";

interface SchemaFieldsProps {
  schema: Schema;
  values: Values;
  path: string;
  onChange: (values: Values) => void;
  /** Returns whether an option is shown. Without it, all options are shown. */
  only?: (name: string) => boolean;
  /** Shown after the last field. */
  children?: ReactNode;
}

/** A form made from a JSON Schema. An empty field is not sent, so its default applies. */
export function SchemaFields({ schema, values, path, onChange, only = () => true, children }: SchemaFieldsProps) {
  const fields = schemaFields(schema).filter(({ name }) => only(name));
  if (!fields.length && !children) return null;
  const plain = fields.filter(({ kind }) => kind !== "group");
  const groups = fields.filter(({ kind }) => kind === "group");
  const change = (name: string) => (value: unknown) => onChange(withValue(values, name, value));
  return (
    <div className="grid gap-4">
      <div className="grid items-start gap-x-5 gap-y-4 sm:grid-cols-2">
        {plain.map((field) => (
          <OneField
            key={field.name}
            field={field}
            path={`${path}.${field.name}`}
            value={values[field.name]}
            onChange={change(field.name)}
          />
        ))}
        {children}
      </div>
      {groups.map((field) => (
        <Group
          key={field.name}
          field={field}
          path={`${path}.${field.name}`}
          value={values[field.name]}
          onChange={change(field.name)}
        />
      ))}
    </div>
  );
}

interface OneFieldProps {
  field: SchemaField;
  path: string;
  value: unknown;
  onChange: (value: unknown) => void;
}

export function OneField({ field, path, value, onChange }: OneFieldProps) {
  const { name, schema, kind, isRequired } = field;
  if (kind === "switch") return <SwitchField {...{ path, name, schema, value, onChange }} />;
  const description = schema.description ?? "";
  const allowed = kind === "choice" ? "" : `${capitalised(words(schema))}.`;
  const hint = [description && `${description}.`, allowed].filter(Boolean).join(" ");
  return (
    <Field path={path} label={fieldWords(name, path)} name={isRequired ? `${name} (required)` : name} hint={hint}>
      {(control) => {
        const given = { control, schema, value, onChange };
        if (kind === "pairs") return <LinesControl {...given} reading={(text) => parsePairs(text, schema)} writing={writePairs} />;
        if (kind === "texts") return <LinesControl {...given} reading={parseTexts} writing={writeTexts} />;
        if (kind === "choice") return <ChoiceControl {...given} />;
        return <TextControl {...given} />;
      }}
    </Field>
  );
}

const capitalised = (text: string) => text.replace(/^./, (first) => first.toUpperCase());

/** A folded group for an option that has options itself. An empty group is not sent. */
function Group({ field, path, value, onChange }: OneFieldProps) {
  const values = isRecord(value) ? value : {};
  return (
    <details className="rounded border border-line px-3 py-2" open={isRecord(value) || undefined}>
      <summary className="cursor-pointer">
        <span className="font-medium">{fieldWords(field.name)}</span>{" "}
        <code className="font-mono text-xs text-muted">{field.name}</code>{" "}
        <span className="fact">
          <Prose text={field.schema.description ?? ""} />
        </span>
      </summary>
      <div className="pt-3">
        <SchemaFields
          schema={groupSchema(field.schema)}
          values={values}
          path={path}
          onChange={(changed) => onChange(Object.keys(changed).length ? changed : undefined)}
        />
      </div>
    </details>
  );
}
