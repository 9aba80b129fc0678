import { type ReactNode, type SubmitEvent, useState } from "react";

import { Failure } from "@/components/page/Notice";

import { type Field, Fields } from "./Fields";

type Values<Name extends string> = Readonly<Record<Name, string>>;

interface DataFormProps<Name extends string> {
  fields: readonly Field<Name>[];
  /** The label of the button that sends the form. */
  action: string;
  mutation: { isPending: boolean; error: unknown };
  /** `clear` empties the fields that take text. */
  onSubmit: (values: Values<Name>, clear: () => void) => void;
  /** Other fields, which the caller holds. */
  children?: ReactNode;
}

/** A form with its fields in one row, if there is room. It shows why sending failed. */
export function DataForm<Name extends string>({ fields, action, mutation, onSubmit, children }: DataFormProps<Name>) {
  const [values, setValues] = useState(() => initialValues(fields));
  const texts = fields.filter(({ options }) => !options);
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    onSubmit(values, () => setValues((now) => ({ ...now, ...initialValues(texts) })));
  };
  return (
    <form onSubmit={submit} className="grid gap-3 border-t border-line p-4">
      <div className="flex flex-wrap items-end gap-3">
        <Fields fields={fields} values={values} onChange={(name, value) => setValues((now) => ({ ...now, [name]: value }))} />
        {children}
        <button type="submit" className="button button-primary" disabled={mutation.isPending}>
          {action}
        </button>
      </div>
      {mutation.error != null && <Failure asked error={mutation.error} />}
    </form>
  );
}

function initialValues<Name extends string>(fields: readonly Field<Name>[]): Values<Name> {
  const values = fields.map(({ name, initial, options }) => [name, initial ?? options?.[0]?.[0] ?? ""]);
  return Object.fromEntries(values) as Values<Name>;
}
