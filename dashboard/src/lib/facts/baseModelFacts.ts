/** What was found out about a base model, in words. */

import type { BaseModelCheck, DeviceFit } from "@/types/api";

type Precision = keyof DeviceFit["precisions"];

/** The precisions in which jobs may hold the weights, with the heads of their columns. */
export const PRECISIONS: readonly (readonly [Precision, string])[] = [
  ["none", "As published"],
  ["int8", "int8"],
  ["nf4", "nf4"],
];

/** Returns the precisions that the fits have an answer for. */
export const precisionsOf = (fits: readonly DeviceFit[]) =>
  PRECISIONS.filter(([precision]) => fits.some(({ precisions }) => precisions[precision]));

/** Says where a job fits: `Fits on 4 of 6 devices as published, on 6 in nf4.` An empty list says that it is not known. */
export function fitsInShort(fits: readonly DeviceFit[]): string {
  if (!fits.length) return "It is not known where a job fits: the memory of this architecture cannot be computed.";
  const parts = precisionsOf(fits).map(([precision, name]) => {
    const fitting = fits.filter(({ precisions }) => precisions[precision]?.startsWith("fits")).length;
    return `${name.toLowerCase()} on ${fitting}`;
  });
  return `Of these ${fits.length} devices, a job fits ${parts.join(", ")}.`;
}

/** Returns what keeps a model from being added, or null if nothing does. */
export function obstacle({ trainable, checks }: BaseModelCheck): string | null {
  if (trainable) return null;
  const failed = checks.filter(({ state }) => state === "fail").map(({ name }) => name);
  return `Jobs cannot train this model: ${failed.join(", ")}.`;
}
