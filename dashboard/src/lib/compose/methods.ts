/** The methods of a composition, in PEFT's words, and which options each of them has. */

import type { Composition } from "@/types/api";

export type Method = NonNullable<Composition["request"]["method"]>;

const ABOUT: Record<Method, string> = {
  svd: "Adds the updates of the weights, and keeps the largest singular values.",
  cat: "Adds the updates of the weights exactly. The rank is the sum of the ranks.",
  linear: "Adds A and B themselves. The adapters need one rank.",
  ties: "Drops the small values of A and B, and keeps those of the elected sign. The adapters need one rank.",
  dare_linear: "Drops values of A and B at random, and enlarges the others. The adapters need one rank.",
  dare_ties: "Drops values of A and B at random, and keeps those of the elected sign. The adapters need one rank.",
  magnitude_prune: "Drops the small values of A and B. The adapters need one rank.",
  ties_svd: "As ties, but with the updates of the weights. It takes minutes.",
  dare_linear_svd: "As dare_linear, but with the updates of the weights. It takes minutes.",
  dare_ties_svd: "As dare_ties, but with the updates of the weights. It takes minutes.",
  magnitude_prune_svd: "As magnitude_prune, but with the updates of the weights. It takes minutes.",
};

export const METHODS = Object.entries(ABOUT) as readonly (readonly [Method, string])[];
export const USUAL_METHOD: Method = "svd";

export function aboutMethod(method: Method): string {
  return ABOUT[method];
}

/** Returns whether the method drops values, so that it has a density. */
export function prunes(method: string): boolean {
  return /^(ties|dare|magnitude_prune)/.test(method);
}

export function electsSigns(method: string): boolean {
  return method.includes("ties");
}

/** Returns whether the method decomposes updates of weights, so that it chooses the rank of the result. */
export function decomposes(method: string): boolean {
  return method.endsWith("svd");
}
