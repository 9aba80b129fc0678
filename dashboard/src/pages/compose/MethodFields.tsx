import type { ComposeDraft } from "@/lib/compose/draft";
import { aboutMethod, decomposes, electsSigns, METHODS, type Method, prunes } from "@/lib/compose/methods";

import { FormField, NumberField } from "./FormField";

const MOST_RANKS = 256;
const LEAST_SHARE = 0.001;
const LONGEST_NAME = 64;

export interface FieldsProps {
  draft: ComposeDraft;
  change: (changed: Partial<ComposeDraft>) => void;
}

/** The method, the options that it has, and the name of the result. */
export function MethodFields({ draft, change }: FieldsProps) {
  return (
    <div className="grid gap-2">
      <div className="flex flex-wrap items-end gap-3">
        <FormField label="Method">
          <select
            className="field"
            value={draft.method}
            onChange={({ target }) => change({ method: target.value as Method })}
          >
            {METHODS.map(([method]) => (
              <option key={method}>{method}</option>
            ))}
          </select>
        </FormField>
        <Options draft={draft} change={change} />
        <FormField label="Name (a part of the model’s name)">
          <input
            className="field w-52"
            maxLength={LONGEST_NAME}
            pattern="[A-Za-z0-9._\-]+"
            title="Letters, digits, dots, underscores and hyphens"
            value={draft.suffix}
            onChange={({ target }) => change({ suffix: target.value })}
          />
        </FormField>
      </div>
      <p className="text-muted">{aboutMethod(draft.method)}</p>
    </div>
  );
}

function Options({ draft, change }: FieldsProps) {
  const { method } = draft;
  return (
    <>
      {prunes(method) && (
        <NumberField
          label="Share of values kept (empty: 0.5)"
          {...{ min: LEAST_SHARE, max: 1, step: "any" }}
          value={draft.density}
          onChange={(density) => change({ density })}
        />
      )}
      {electsSigns(method) && (
        <FormField label="Signs elected by">
          <select
            className="field"
            value={draft.majority_sign_method}
            onChange={({ target }) =>
              change({ majority_sign_method: target.value as ComposeDraft["majority_sign_method"] })
            }
          >
            <option value="">the sum of the values</option>
            <option value="frequency">how many values have them</option>
          </select>
        </FormField>
      )}
      {decomposes(method) && (
        <>
          <NumberField
            label="Rank (empty: the largest)"
            {...{ min: 1, max: MOST_RANKS }}
            value={draft.svd_rank}
            onChange={(svd_rank) => change({ svd_rank })}
          />
          <NumberField
            label="Quantile to clamp at (empty: none)"
            {...{ min: LEAST_SHARE, max: 1, step: "any" }}
            value={draft.svd_clamp}
            onChange={(svd_clamp) => change({ svd_clamp })}
          />
        </>
      )}
    </>
  );
}
