import type { Draft } from "@/lib/newJob/draft";
import { FieldGroup } from "@/pages/new/fields/FieldGroup";
import { fieldId } from "@/pages/new/fields/formContext";
import type { StepProps } from "@/pages/new/fields/stepProps";

const MOST = 16;

/** The author's own names and values, by which the list of jobs can be searched. */
export function MetadataFields({ draft, change }: StepProps) {
  const { metadata } = draft;
  const set = (changed: Draft["metadata"]) => change({ metadata: changed });
  const setAt = (at: number, pair: readonly [string, string]) =>
    set(metadata.map((one, index) => (index === at ? pair : one)));
  return (
    <FieldGroup title="Metadata" path="metadata" hint="Your own names and values. The list of jobs can be searched by them.">
      {metadata.map(([name, value], at) => (
        // A pair has no key but its position.
        <div key={at} className="flex gap-2">
          <input
            id={at === 0 ? fieldId("metadata") : undefined}
            aria-label={`Name ${at + 1}`}
            placeholder="name"
            className="field min-w-0 flex-1 font-mono"
            value={name}
            onChange={(event) => setAt(at, [event.target.value, value])}
          />
          <input
            aria-label={`Value ${at + 1}`}
            placeholder="value"
            className="field min-w-0 flex-2 font-mono"
            value={value}
            onChange={(event) => setAt(at, [name, event.target.value])}
          />
          <button type="button" className="button" onClick={() => set(metadata.filter((_, index) => index !== at))}>
            Remove
          </button>
        </div>
      ))}
      <button
        type="button"
        className="button justify-self-start"
        disabled={metadata.length >= MOST}
        onClick={() => set([...metadata, ["", ""]])}
      >
        Add a name
      </button>
    </FieldGroup>
  );
}
