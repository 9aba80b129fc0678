import { useState } from "react";

import { useCreateKey, useKeys, useRevokeKey } from "@/api/project/settings";
import { dateTime } from "@/lib/text/format";
import { Ago } from "@/components/basics/Ago";
import { Prose } from "@/components/basics/Prose";
import { Confirm } from "@/components/dialogs/Confirm";
import { ShownOnce } from "@/components/dialogs/ShownOnce";
import { DataForm } from "@/components/forms/DataForm";
import type { Field } from "@/components/forms/Fields";
import { Section } from "@/components/page/Section";
import { actionsColumn, type Column } from "@/components/tables/columns";
import { DataTable } from "@/components/tables/DataTable";
import { PagedList } from "@/components/tables/PagedList";
import type { ApiKey } from "@/types/api";

import { RowAction } from "./RowAction";

const ROLES = {
  "read-only": "read-only: may read",
  member: "member: also files and jobs",
  admin: "admin: also settings",
};
type Role = keyof typeof ROLES;

const DAY = 24 * 3600;
const NEVER = "0";

const FIELDS: readonly Field<"name" | "role" | "lifetime">[] = [
  { name: "name", label: "Name", className: "w-48", maxLength: 128 },
  { name: "role", label: "Role", options: Object.entries(ROLES), initial: "member" },
  {
    name: "lifetime",
    label: "Expires",
    options: [
      [NEVER, "never"],
      [String(7 * DAY), "in 7 days"],
      [String(30 * DAY), "in 30 days"],
      [String(90 * DAY), "in 90 days"],
      [String(365 * DAY), "in a year"],
    ],
  },
];

export function Keys({ project }: { project: string }) {
  const keys = useKeys(project);
  const [revoking, setRevoking] = useState<ApiKey | null>(null);
  const action = actionsColumn<ApiKey>((key) => (
    <RowAction verb="Revoke" of={key.name} onClick={() => setRevoking(key)} />
  ));
  return (
    <Section title="API keys">
      <CreateKey project={project} />
      <PagedList list={keys} empty="No key.">
        {(items) => <DataTable columns={[...COLUMNS, action]} rows={items} keyOf={({ id }) => id} />}
      </PagedList>
      {revoking && <Revoke project={project} apiKey={revoking} onClose={() => setRevoking(null)} />}
    </Section>
  );
}

const COLUMNS: readonly Column<ApiKey>[] = [
  { name: "Name", className: "break-all", cell: ({ name }) => <Prose text={name} /> },
  { name: "Role", className: "whitespace-nowrap", cell: ({ role }) => role },
  {
    name: "Key",
    shownFrom: "md",
    className: "max-w-60 truncate font-mono text-xs",
    cell: ({ owner, redacted_value }) => (owner && "user" in owner ? "of a person who signs on" : redacted_value),
  },
  {
    name: "Created",
    shownFrom: "md",
    className: "whitespace-nowrap",
    cell: ({ created_at }) => <Ago unix={created_at} />,
  },
  {
    name: "Expires",
    shownFrom: "sm",
    className: "whitespace-nowrap",
    cell: ({ expires_at }) => (expires_at ? dateTime(expires_at) : "never"),
  },
];

function CreateKey({ project }: { project: string }) {
  const create = useCreateKey(project);
  return (
    <>
      <DataForm
        fields={FIELDS}
        action="Create key"
        mutation={create}
        onSubmit={({ name, role, lifetime }, clear) => {
          const expiry = lifetime !== NEVER && { expires_in_seconds: Number(lifetime) };
          create.mutate({ name, role: role as Role, ...expiry }, { onSuccess: clear });
        }}
      />
      {create.data && <ShownOnce title="The new key" value={create.data.value} onClose={() => create.reset()} />}
    </>
  );
}

function Revoke({ project, apiKey, onClose }: { project: string; apiKey: ApiKey; onClose: () => void }) {
  const revoke = useRevokeKey(project);
  return (
    <Confirm
      title="Revoke this key?"
      action="Revoke key"
      mutation={revoke}
      onConfirm={() => revoke.mutate(apiKey.id, { onSuccess: onClose })}
      onClose={onClose}
    >
      <p>
        Requests with <strong><Prose text={apiKey.name} /></strong> are refused from now on. Browsers that signed in with it are signed
        out, including this browser if the key is yours.
      </p>
    </Confirm>
  );
}
