import { useState } from "react";

import { besidePath, besideSchema, withValue } from "@/lib/newJob/draft";
import { alternatives } from "@/lib/schemas/schema";
import { itemSchema, itemsOf } from "@/lib/schemas/listOption";
import { FieldGroup } from "@/pages/new/fields/FieldGroup";
import { SchemaFields } from "@/pages/new/fields/SchemaFields";
import type { StepProps } from "@/pages/new/fields/stepProps";

const TURNS = "max_episode_steps";

/** The tools that an endpoint answers while the model learns, and how often the model may write in an answer. */
export function ToolFields({ draft, offer, change }: StepProps) {
  const { tools: schema, [TURNS]: turns } = besideSchema(draft, offer).properties ?? {};
  const item = schema && itemSchema(schema);
  const [isOpen, setOpen] = useState(draft.beside.tools !== undefined || draft.beside[TURNS] !== undefined);
  if (!schema || !item) return null;
  const tools = itemsOf(draft.beside.tools);
  const path = `${besidePath(draft)}.tools`;
  const most = alternatives(schema).find(({ maxItems }) => maxItems !== undefined)?.maxItems ?? Infinity;
  const set = (changed: readonly unknown[]) =>
    change({ beside: withValue(draft.beside, "tools", changed.length ? changed : undefined) });
  return (
    <details className="border-t border-line pt-5" open={isOpen} onToggle={({ currentTarget }) => setOpen(currentTarget.open)}>
      <summary className="cursor-pointer">Tools: the model calls them while it answers, and a URL of yours replies</summary>
      <div className="mt-3 grid gap-3">
        <FieldGroup title="Tools" path={path} hint={`${schema.description}.`} takesFocus>
          {tools.map((tool, at) => (
            // A tool has no key but its position.
            <div key={at} role="group" aria-label={`Tool ${at + 1}`} className="grid gap-3 border-l-2 border-line pl-4">
              <SchemaFields schema={item} values={tool} path={`${path}.${at}`} onChange={(changed) => set(tools.with(at, { ...changed }))} />
              <button type="button" className="button justify-self-start" onClick={() => set(tools.filter((_, index) => index !== at))}>
                Remove the tool
              </button>
            </div>
          ))}
          <button
            type="button"
            className="button justify-self-start"
            disabled={tools.length >= most}
            onClick={() => set([...tools, {}])}
          >
            Add a tool
          </button>
        </FieldGroup>
        {turns && (
          <SchemaFields
            schema={{ properties: { [TURNS]: turns } }}
            values={draft.beside}
            path={besidePath(draft)}
            onChange={(beside) => change({ beside })}
          />
        )}
      </div>
    </details>
  );
}
