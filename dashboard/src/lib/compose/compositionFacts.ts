/** What a composition has found, in words. */

import type { Composition } from "@/api/types";
import { counted, significant } from "@/lib/text/format";

/** Weights that a search has tried: the loss of each file with them, and the mean, which the search minimises. */
export interface Trial {
  weights: readonly number[];
  losses: readonly (number | null)[];
  loss: number | null;
}

/** What is composed, such as "ties of 2 adapters, both". */
export function compositionWords({ request }: Composition): string {
  const { method, adapters, suffix } = request;
  return [`${method} of ${counted(adapters.length, "adapter")}`, suffix].filter(Boolean).join(", ");
}

export function trialsOf({ report }: Composition): readonly Trial[] {
  return (report?.trials ?? []) as Trial[];
}

/** The weight of each part: the one that a search has found, or else the given one. */
export function weightsOf({ request, report }: Composition): readonly number[] {
  return (report?.weights as number[] | undefined) ?? request.adapters.map(({ weight }) => weight);
}

/** What the result is, such as "Rank 16 in 210 layers. The search lowered the mean loss from 0.377 to 0.251." */
export function resultWords(composition: Composition): string | null {
  const { report } = composition;
  if (!report) return null;
  const result = `Rank ${String(report.rank)} in ${counted(Number(report.layers), "layer")}.`;
  const losses = trialsOf(composition).flatMap(({ loss }) => (loss === null ? [] : [loss]));
  const [first, best] = [trialsOf(composition)[0]?.loss, Math.min(...losses)];
  if (first == null) return result;
  if (best === first) return `${result} The search found no better weights: the mean loss is ${significant(first)}.`;
  return `${result} The search lowered the mean loss from ${significant(first)} to ${significant(best)}.`;
}
