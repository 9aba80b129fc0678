import type { ComponentProps } from "react";

import type { PlaygroundSearch } from "@/lib/addresses/playgroundSearch";
import { schemaProblem } from "@/lib/chat/chatRequest";
import { Labelled } from "@/components/forms/Labelled";

interface ChatSettingsProps {
  settings: PlaygroundSearch;
  onChange: (changed: Partial<PlaygroundSearch>) => void;
}

const NUMBERS = [
  { name: "temperature", label: "Temperature", min: 0, max: 2, step: 0.1 },
  { name: "top_p", label: "Top p", min: 0, max: 1, step: 0.05 },
  { name: "max_tokens", label: "Most tokens", min: 1, step: 1 },
  { name: "seed", label: "Seed", step: 1 },
] as const;

/** The settings of all models. An empty field leaves the choice to the service. */
export function ChatSettings({ settings, onChange }: ChatSettingsProps) {
  const problem = schemaProblem(settings.schema ?? "");
  return (
    <details className="card" open={settings.system !== undefined || settings.schema !== undefined}>
      <summary className="px-4 py-2.5 font-semibold">Settings</summary>
      <div className="grid gap-3 px-4 pb-4 md:grid-cols-2">
        <Labelled label="System prompt">
          <textarea
            className="field min-h-20"
            value={settings.system ?? ""}
            onChange={({ target: { value } }) => onChange({ system: value || undefined })}
          />
        </Labelled>
        <Labelled label="JSON Schema of the answer">
          <textarea
            className="field min-h-20 font-mono text-xs"
            spellCheck={false}
            aria-invalid={problem !== null}
            value={settings.schema ?? ""}
            onChange={({ target: { value } }) => onChange({ schema: value || undefined })}
          />
          {problem !== null && (
            <span role="alert" className="text-bad">
              {problem}
            </span>
          )}
        </Labelled>
        <div className="flex flex-wrap gap-3 md:col-span-2">
          {NUMBERS.map(({ name, label, ...range }) => (
            <NumberField
              key={name}
              label={label}
              {...range}
              value={settings[name]}
              onChange={(value) => onChange({ [name]: value })}
            />
          ))}
          <label className="flex items-center gap-2 self-end py-1">
            <input
              type="checkbox"
              checked={settings.store ?? false}
              onChange={({ target: { checked } }) => onChange({ store: checked || undefined })}
            />
            Store answers, to rate them
          </label>
        </div>
      </div>
    </details>
  );
}

interface NumberFieldProps extends Pick<ComponentProps<"input">, "min" | "max" | "step"> {
  label: string;
  value: number | undefined;
  onChange: (value: number | undefined) => void;
}

function NumberField({ label, value, onChange, ...range }: NumberFieldProps) {
  return (
    <Labelled label={label}>
      <input
        type="number"
        className="field w-28"
        placeholder="default"
        {...range}
        value={value ?? ""}
        onChange={({ target }) => onChange(Number.isNaN(target.valueAsNumber) ? undefined : target.valueAsNumber)}
      />
    </Labelled>
  );
}
