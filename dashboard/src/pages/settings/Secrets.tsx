import { useState } from "react";

import { useDeleteSecret, useSecrets, useSetSecret } from "@/api/project/settings";
import { Ago } from "@/components/basics/Ago";
import { Confirm } from "@/components/dialogs/Confirm";
import { DataForm } from "@/components/forms/DataForm";
import type { Field } from "@/components/forms/Fields";
import { Section } from "@/components/page/Section";
import { actionsColumn } from "@/components/tables/columns";
import { DataTable } from "@/components/tables/DataTable";
import { PagedList } from "@/components/tables/PagedList";

import { RowAction } from "./RowAction";

export function Secrets() {
  const secrets = useSecrets();
  const [deleting, setDeleting] = useState<string | null>(null);
  return (
    <Section title="Secrets">
      <p className="px-4 pb-3 text-muted">
        Values that jobs may use, such as a tracker&apos;s key (<code className="font-mono">WANDB_API_KEY</code>). They
        are stored encrypted and are never shown again.
      </p>
      <SetSecret />
      <PagedList list={secrets} empty="No secret.">
        {(items) => (
          <DataTable
            columns={[
              { name: "Name", className: "font-mono text-xs break-all", cell: ({ name }) => name },
              { name: "Set", className: "whitespace-nowrap", cell: ({ updated_at }) => <Ago unix={updated_at} /> },
              actionsColumn<{ name: string }>(({ name }) => (
                <RowAction verb="Delete" of={name} onClick={() => setDeleting(name)} />
              )),
            ]}
            rows={items}
            keyOf={({ name }) => name}
          />
        )}
      </PagedList>
      {deleting && <DeleteSecret name={deleting} onClose={() => setDeleting(null)} />}
    </Section>
  );
}

const FIELDS: readonly Field<"name" | "value">[] = [
  {
    name: "name",
    label: "Name: capitals, digits, underscores",
    className: "w-60 font-mono",
    pattern: "[A-Z][A-Z0-9_]{0,63}",
    spellCheck: false,
  },
  {
    name: "value",
    label: "Value (replaces the old value)",
    className: "w-60 font-mono",
    type: "password",
    maxLength: 8192,
    autoComplete: "new-password",
  },
];

function SetSecret() {
  const set = useSetSecret();
  return (
    <DataForm
      fields={FIELDS}
      action="Set secret"
      mutation={set}
      onSubmit={(secret, clear) => set.mutate(secret, { onSuccess: clear })}
    />
  );
}

function DeleteSecret({ name, onClose }: { name: string; onClose: () => void }) {
  const remove = useDeleteSecret();
  return (
    <Confirm
      title="Delete this secret?"
      action="Delete secret"
      mutation={remove}
      onConfirm={() => remove.mutate(name, { onSuccess: onClose })}
      onClose={onClose}
    >
      <p>
        Jobs that need <code className="font-mono">{name}</code> can no longer report to their tracker.
      </p>
    </Confirm>
  );
}
