import type { ComposeDraft } from "@/lib/compose/draft";
import { aboutMethod, decomposes, electsSigns, METHODS, prunes } from "@/lib/compose/methods";
import { type Field, Fields } from "@/components/forms/Fields";

const MOST_RANKS = 256;
const LEAST_SHARE = 0.001;
const LONGEST_NAME = 64;
const SHARE = { className: "w-40", type: "number", min: LEAST_SHARE, max: 1, step: "any", isOptional: true } as const;

export interface FieldsProps {
  draft: ComposeDraft;
  change: (changed: Partial<ComposeDraft>) => void;
}

type Name = "method" | "density" | "majority_sign_method" | "svd_rank" | "svd_clamp" | "suffix";

const FIELDS: readonly Field<Name>[] = [
  { name: "method", label: "Method", options: METHODS.map(([method]) => [method, method]) },
  { name: "density", label: "Share of values kept (empty: 0.5)", ...SHARE, isShown: ({ method }) => prunes(method) },
  {
    name: "majority_sign_method",
    label: "Signs elected by",
    isOptional: true,
    options: [
      ["", "the sum of the values"],
      ["frequency", "how many values have them"],
    ],
    isShown: ({ method }) => electsSigns(method),
  },
  {
    name: "svd_rank",
    label: "Rank (empty: the largest)",
    className: "w-40",
    type: "number",
    min: 1,
    max: MOST_RANKS,
    isOptional: true,
    isShown: ({ method }) => decomposes(method),
  },
  { name: "svd_clamp", label: "Quantile to clamp at (empty: none)", ...SHARE, isShown: ({ method }) => decomposes(method) },
  {
    name: "suffix",
    label: "Name (a part of the model’s name)",
    className: "w-52",
    maxLength: LONGEST_NAME,
    pattern: "[A-Za-z0-9._\\-]+",
    title: "Letters, digits, dots, underscores and hyphens",
    isOptional: true,
  },
];

/** The method, the options that it has, and the name of the result. */
export function MethodFields({ draft, change }: FieldsProps) {
  return (
    <div className="grid gap-2">
      <div className="flex flex-wrap items-end gap-3">
        <Fields fields={FIELDS} values={draft} onChange={(name, value) => change({ [name]: value })} />
      </div>
      <p className="text-muted">{aboutMethod(draft.method)}</p>
    </div>
  );
}
