/** What a composition has found, in words. */

import { counted, significant } from "@/lib/text/format";
import type { Composition } from "@/types/api";

/** Weights that a search has tried: the loss of each file with them, the mean, and the mean share that it raises. */
export interface Trial {
  weights: readonly number[];
  losses: readonly (number | null)[];
  loss: number | null;
  score?: number;
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
  return (report?.weights as number[] | undefined) ?? request.adapters.map(({ weight = 1 }) => weight);
}

/** What the result is, such as "Rank 16 in 210 layers. The search went from a mean loss of 0.377 to …" */
export function resultWords(composition: Composition): string | null {
  const { report } = composition;
  if (report?.rank == null) return null; // a search that runs shows its trials
  const result = `Rank ${String(report.rank)} in ${counted(Number(report.layers), "layer")}.`;
  const [first] = trialsOf(composition);
  const found = trialsOf(composition).find(({ weights }) => weights.join() === weightsOf(composition).join());
  if (first?.loss == null || found?.loss == null) return result;
  const [before, after] = [meritWords(first), meritWords(found)];
  if (found === first) return `${result} The search found no better weights: ${before}.`;
  return `${result} The search went from ${before} to ${after}.`;
}

function meritWords({ score, loss }: Trial): string {
  const lossWords = `a mean loss of ${significant(loss)}`;
  return score == null ? lossWords : `${String(Math.round(100 * score))} % right and ${lossWords}`;
}
