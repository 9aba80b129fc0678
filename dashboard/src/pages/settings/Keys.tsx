import { useState } from "react";

import { useCreateKey, useKeys, useRevokeKey } from "@/api/project/settings";
import type { ApiKey } from "@/api/types";
import { dateTime } from "@/lib/text/format";
import { Ago } from "@/parts/basics/Ago";
import { Confirm } from "@/parts/dialogs/Confirm";
import { PagedList } from "@/parts/tables/PagedList";
import { Section } from "@/parts/page/Section";
import { ShownOnce } from "@/parts/dialogs/ShownOnce";

import { Form, Labelled, TextField } from "./SettingsForm";

const ROLES = { "read-only": "read-only: reads", member: "member: files and jobs too", admin: "admin: settings too" };
type Role = keyof typeof ROLES;

const DAY = 24 * 3600;
const LIFETIMES = [
  ["never", 0],
  ["in 7 days", 7 * DAY],
  ["in 30 days", 30 * DAY],
  ["in 90 days", 90 * DAY],
  ["in a year", 365 * DAY],
] as const;

export function Keys({ project }: { project: string }) {
  const keys = useKeys(project);
  const [revoking, setRevoking] = useState<ApiKey | null>(null);
  return (
    <Section title="API keys">
      <CreateKey project={project} />
      <PagedList list={keys} empty="No key.">
        <table className="data-table">
          <thead>
            <tr>
              <th scope="col">Name</th>
              <th scope="col">Role</th>
              <th scope="col" className="hidden md:table-cell">
                Key
              </th>
              <th scope="col" className="hidden md:table-cell">
                Created
              </th>
              <th scope="col" className="hidden sm:table-cell">
                Expires
              </th>
              <th scope="col">
                <span className="sr-only">Actions</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {keys.items?.map((key) => (
              <tr key={key.id}>
                <td className="break-all">{key.name}</td>
                <td className="whitespace-nowrap">{key.role}</td>
                <td className="hidden max-w-60 truncate font-mono text-xs md:table-cell">{key.redacted_value}</td>
                <td className="hidden whitespace-nowrap md:table-cell">
                  <Ago unix={key.created_at} />
                </td>
                <td className="hidden whitespace-nowrap sm:table-cell">
                  {key.expires_at ? dateTime(key.expires_at) : "never"}
                </td>
                <td className="number">
                  <button
                    type="button"
                    className="link text-bad"
                    aria-label={`Revoke ${key.name}`}
                    onClick={() => setRevoking(key)}
                  >
                    Revoke
                  </button>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </PagedList>
      {revoking && <Revoke project={project} apiKey={revoking} onClose={() => setRevoking(null)} />}
    </Section>
  );
}

function CreateKey({ project }: { project: string }) {
  const create = useCreateKey(project);
  const [name, setName] = useState("");
  const [role, setRole] = useState<Role>("member");
  const [lifetime, setLifetime] = useState(0);
  const submit = () =>
    create.mutate(
      { name, role, ...(lifetime > 0 && { expires_in_seconds: lifetime }) },
      { onSuccess: () => setName("") },
    );
  return (
    <>
      <Form action="Create key" doing={create} onSubmit={submit}>
        <TextField label="Name" className="w-48" maxLength={128} value={name} onChange={setName} />
        <Labelled label="Role">
          <select className="field" value={role} onChange={(event) => setRole(event.target.value as Role)}>
            {Object.entries(ROLES).map(([value, words]) => (
              <option key={value} value={value}>
                {words}
              </option>
            ))}
          </select>
        </Labelled>
        <Labelled label="Expires">
          <select className="field" value={lifetime} onChange={(event) => setLifetime(Number(event.target.value))}>
            {LIFETIMES.map(([words, seconds]) => (
              <option key={words} value={seconds}>
                {words}
              </option>
            ))}
          </select>
        </Labelled>
      </Form>
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
      doing={revoke}
      onConfirm={() => revoke.mutate(apiKey.id, { onSuccess: onClose })}
      onClose={onClose}
    >
      <p>
        Whoever uses <strong>{apiKey.name}</strong> is refused from now on, and browsers that it signed in are signed
        out, this one too where it is yours.
      </p>
    </Confirm>
  );
}
