import { useState } from "react";

import { useDeleteSecret, useSecrets, useSetSecret } from "@/api/project/settings";
import { Ago } from "@/parts/basics/Ago";
import { Confirm } from "@/parts/dialogs/Confirm";
import { PagedList } from "@/parts/tables/PagedList";
import { Section } from "@/parts/page/Section";

import { Form, TextField } from "./SettingsForm";

export function Secrets() {
  const secrets = useSecrets();
  const [deleting, setDeleting] = useState<string | null>(null);
  return (
    <Section title="Secrets">
      <p className="px-4 pb-3 text-muted">
        What jobs may use, such as a tracker&apos;s key (<code className="font-mono">WANDB_API_KEY</code>). They are
        encrypted, and nobody reads them again.
      </p>
      <SetSecret />
      <PagedList list={secrets} empty="No secret.">
        <table className="data-table">
          <thead>
            <tr>
              <th scope="col">Name</th>
              <th scope="col">Set</th>
              <th scope="col">
                <span className="sr-only">Actions</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {secrets.items?.map(({ name, updated_at }) => (
              <tr key={name}>
                <td className="font-mono text-xs break-all">{name}</td>
                <td className="whitespace-nowrap">
                  <Ago unix={updated_at} />
                </td>
                <td className="number">
                  <button
                    type="button"
                    className="link text-bad"
                    aria-label={`Delete ${name}`}
                    onClick={() => setDeleting(name)}
                  >
                    Delete
                  </button>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </PagedList>
      {deleting && <DeleteSecret name={deleting} onClose={() => setDeleting(null)} />}
    </Section>
  );
}

function SetSecret() {
  const set = useSetSecret();
  const [name, setName] = useState("");
  const [value, setValue] = useState("");
  const clear = () => {
    setName("");
    setValue("");
  };
  return (
    <Form action="Set secret" doing={set} onSubmit={() => set.mutate({ name, value }, { onSuccess: clear })}>
      <TextField
        label="Name: capitals, digits, underscores"
        className="w-60 font-mono"
        pattern="[A-Z][A-Z0-9_]{0,63}"
        spellCheck={false}
        value={name}
        onChange={setName}
      />
      <TextField
        label="Value; it replaces the former one"
        className="w-60 font-mono"
        type="password"
        maxLength={8192}
        autoComplete="new-password"
        value={value}
        onChange={setValue}
      />
    </Form>
  );
}

function DeleteSecret({ name, onClose }: { name: string; onClose: () => void }) {
  const remove = useDeleteSecret();
  return (
    <Confirm
      title="Delete this secret?"
      action="Delete secret"
      doing={remove}
      onConfirm={() => remove.mutate(name, { onSuccess: onClose })}
      onClose={onClose}
    >
      <p>
        Jobs that need <code className="font-mono">{name}</code> report to their tracker no more.
      </p>
    </Confirm>
  );
}
