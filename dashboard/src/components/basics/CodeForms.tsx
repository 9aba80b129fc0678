import { useState } from "react";

import { CopyBlock } from "./CopyBlock";

interface CodeFormsProps {
  /** The code by the name of its form. Only the form that is shown is written. */
  forms: Readonly<Record<string, { label: string; write: () => string; hasKey: boolean }>>;
}

/** A request in several forms, such as JSON, Python and curl. */
export function CodeForms({ forms }: CodeFormsProps) {
  const names = Object.keys(forms);
  const [chosen, setChosen] = useState(names[0] ?? "");
  const form = forms[chosen];
  return (
    <div className="grid min-w-0 grid-cols-1 gap-2 [&_pre]:max-h-80 [&_pre]:overflow-y-auto">
      <div role="group" aria-label="The request as" className="flex flex-wrap gap-1">
        {names.map((name) => (
          <button
            key={name}
            type="button"
            aria-pressed={chosen === name}
            className="button px-2.5 aria-pressed:border-accent aria-pressed:bg-tint aria-pressed:text-accent"
            onClick={() => setChosen(name)}
          >
            {name}
          </button>
        ))}
      </div>
      {form && <CopyBlock key={chosen} label={form.label} code={form.write()} />}
      {form?.hasKey && (
        <p className="fact">
          The key comes from <code className="font-mono">TUNERY_API_KEY</code>.
        </p>
      )}
    </div>
  );
}
