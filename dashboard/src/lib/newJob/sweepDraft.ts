/** Values to try instead of one: a candidate is made of each combination. */

import { alternatives, type Schema } from "@/lib/schemas/schema";
import { type Problem, problems } from "@/lib/schemas/schemaProblems";
import { parse } from "@/lib/schemas/schemaFields";

export type Tried = Readonly<Record<string, readonly unknown[]>>;

const OF_ADAPTER = "adapter.";
const FEWEST = 2;

/** The places of which values can be tried: of the adapter those that it has. */
export function triedFields(sweep: Schema, adapter: Schema): [place: string, schema: Schema][] {
  const isThere = (place: string) =>
    !place.startsWith(OF_ADAPTER) || place.slice(OF_ADAPTER.length) in (adapter.properties ?? {});
  return Object.entries(sweep.properties ?? {}).filter(([place]) => isThere(place));
}

/** What is sent: another adapter may lack a place for which there are values. */
export function triedValues(tried: Tried, sweep: Schema, adapter: Schema): Tried {
  const places = triedFields(sweep, adapter).map(([place]) => place);
  return Object.fromEntries(places.flatMap((place) => (tried[place] ? [[place, tried[place]]] : [])));
}

export function combinations(tried: Tried): number {
  return Object.values(tried).reduce((count, values) => count * values.length, 1);
}

export function sweepProblems(tried: Tried, sweep: Schema, hasValidation: boolean): Problem[] {
  const count = combinations(tried);
  const most = Math.max(...Object.values(sweep.properties ?? {}).map(({ maxItems = Infinity }) => maxItems));
  const found = problems(tried, sweep, "parameters");
  if (!found.length && (count < FEWEST || count > most)) {
    const made = count === 1 ? "1 candidate" : `${count} candidates`;
    const message = `Name values to try: they make ${made}, and between ${FEWEST} and ${most} can be compared.`;
    found.push({ path: "parameters", message });
  }
  if (!hasValidation) found.push({ path: "validation_file", message: "Candidates are compared by one: choose it." });
  return found;
}

/** `0.1, 0.2`. A value that is a list itself has its items joined by plus, as in `q_proj+v_proj`. */
export function parseTried(text: string, schema: Schema): readonly unknown[] | undefined {
  const written = text.split(/[\s,]+/).filter(Boolean);
  const items = schema.items ?? {};
  return written.length ? written.map((one) => parse(one.replaceAll("+", ","), items)) : undefined;
}

export function writeTried(values: unknown): string {
  if (!Array.isArray(values)) return "";
  return values.map((one) => (Array.isArray(one) ? one.join("+") : String(one))).join(", ");
}

export function takesLists({ items = {} }: Schema): boolean {
  return alternatives(items).some(({ type }) => type === "array");
}
