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
        Values that jobs and exports may use, such as a tracker&apos;s key (
        <code className="font-mono">WANDB_API_KEY</code>). They are stored encrypted and are never shown again. A secret
        without hosts is sent only to those that the operator has chosen, and to AWS.
      </p>
      <SetSecret />
      <PagedList list={secrets} empty="No secret.">
        {(items) => (
          <DataTable
            columns={[
              { name: "Name", className: "font-mono text-xs break-all", cell: ({ name }) => name },
              {
                name: "May be sent to",
                className: "font-mono text-xs break-all",
                cell: ({ hosts }) => hosts?.join(", ") ?? "–",
              },
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

const FIELDS: readonly Field<"name" | "value" | "hosts">[] = [
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
  {
    name: "hosts",
    label: "Hosts, separated by commas (none: as before)",
    className: "w-60 font-mono",
    placeholder: "api.wandb.ai, *.example.com",
    isOptional: true,
    spellCheck: false,
  },
];

function SetSecret() {
  const set = useSetSecret();
  return (
    <DataForm
      fields={FIELDS}
      action="Set secret"
      mutation={set}
      onSubmit={({ hosts, ...secret }, clear) => {
        const bound = hosts.split(",").map((host) => host.trim()).filter(Boolean);
        set.mutate(bound.length > 0 ? { ...secret, hosts: bound } : secret, { onSuccess: clear });
      }}
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
