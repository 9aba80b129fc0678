import type { Draft } from "@/lib/newJob/draft";

import { fieldId, useForm } from "@/pages/new/fields/formContext";
import type { StepProps } from "@/pages/new/fields/stepProps";

const MOST = 16;

/** The author's own names and values, which the list of jobs can be searched by. */
export function MetadataFields({ draft, change }: StepProps) {
  const { metadata } = draft;
  const problem = useForm().problemAt("metadata", true);
  const set = (changed: Draft["metadata"]) => change({ metadata: changed });
  const setAt = (at: number, pair: readonly [string, string]) =>
    set(metadata.map((one, place) => (place === at ? pair : one)));
  return (
    <fieldset className="grid min-w-0 grid-cols-1 gap-2 border-t border-line pt-5">
      <legend className="float-left mb-2 font-medium">Metadata</legend>
      <p className="fact clear-both">Names and values of your own; the jobs can be searched by them.</p>
      {metadata.map(([name, value], at) => (
        // Rows have no name but their place.
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
          <button type="button" className="button" onClick={() => set(metadata.filter((_, place) => place !== at))}>
            Remove
          </button>
        </div>
      ))}
      {problem !== undefined && <p className="text-xs text-bad">{problem}</p>}
      <button
        type="button"
        className="button justify-self-start"
        disabled={metadata.length >= MOST}
        onClick={() => set([...metadata, ["", ""]])}
      >
        Add a name
      </button>
    </fieldset>
  );
}
