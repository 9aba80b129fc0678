/** What the form of a composition holds, and the request that it becomes. */

import type { ComposeRequest } from "@/types/api";

import { decomposes, electsSigns, type Method, prunes, USUAL_METHOD } from "./methods";

export const FEWEST_PARTS = 2;

/** The fields of the form. A number is the text of its field; an empty one is left to the service. */
export interface ComposeDraft {
  method: Method;
  density: string;
  majority_sign_method: "" | "total" | "frequency";
  svd_rank: string;
  svd_clamp: string;
  suffix: string;
  /** Whether the weights are searched. The search begins with the given ones. */
  isSearched: boolean;
  files: string[];
  rows: string;
  trials: string;
  criterion: NonNullable<NonNullable<ComposeRequest["search"]>["criterion"]>;
}

export const EMPTY_DRAFT: ComposeDraft = {
  method: USUAL_METHOD,
  density: "",
  majority_sign_method: "",
  svd_rank: "",
  svd_clamp: "",
  suffix: "",
  isSearched: false,
  files: [],
  rows: "",
  trials: "",
  criterion: "loss",
};

/** A part of the composition: the name by which it is asked for, and the text of its weight. */
export interface ChosenPart {
  name: string;
  weight: string;
}

/** Returns the request. Options that the method does not have are left out, whatever their fields hold. */
export function requestOf(parts: readonly ChosenPart[], draft: ComposeDraft): ComposeRequest {
  const { method, isSearched, files } = draft;
  return {
    adapters: parts.map(({ name, weight }) => ({ adapter: name, weight: Number(weight) })),
    method,
    ...(prunes(method) && number("density", draft.density)),
    ...(electsSigns(method) && draft.majority_sign_method && { majority_sign_method: draft.majority_sign_method }),
    ...(decomposes(method) && { ...number("svd_rank", draft.svd_rank), ...number("svd_clamp", draft.svd_clamp) }),
    ...(draft.suffix && { suffix: draft.suffix }),
    ...(isSearched && {
      search: {
        files,
        criterion: draft.criterion,
        ...number("rows", draft.rows),
        ...number("trials", draft.trials),
      },
    }),
  };
}

/** Returns why the form cannot be sent yet; null if it can. */
export function missingIn(parts: number, { isSearched, files }: ComposeDraft): string | null {
  if (parts < FEWEST_PARTS) return "Add at least two adapters of one base model.";
  return isSearched && !files.length ? "Choose at least one file to search on." : null;
}

function number<Name extends string>(name: Name, text: string): Partial<Record<Name, number>> {
  return text === "" ? {} : ({ [name]: Number(text) } as Record<Name, number>);
}
