/** The values that a sweep tries. Each combination of them is a candidate. */

import { alternatives, type Schema } from "@/lib/schemas/schema";
import { parse } from "@/lib/schemas/schemaFields";
import { type Problem, problems } from "@/lib/schemas/schemaProblems";
import { counted } from "@/lib/text/format";

export type Tried = Readonly<Record<string, readonly unknown[]>>;

const OF_ADAPTER = "adapter.";
const FEWEST = 2;

/** Returns the paths for which values can be tried. Options that the adapter does not have are left out. */
export function triedFields(sweep: Schema, adapter: Schema): [path: string, schema: Schema][] {
  const exists = (path: string) =>
    !path.startsWith(OF_ADAPTER) || path.slice(OF_ADAPTER.length) in (adapter.properties ?? {});
  return Object.entries(sweep.properties ?? {}).filter(([path]) => exists(path));
}

/** Returns the values that are sent. They leave out options that another adapter had and this adapter does not have. */
export function triedValues(tried: Tried, sweep: Schema, adapter: Schema): Tried {
  const paths = triedFields(sweep, adapter).map(([path]) => path);
  return Object.fromEntries(paths.flatMap((path) => (tried[path] ? [[path, tried[path]]] : [])));
}

export function combinations(tried: Tried): number {
  return Object.values(tried).reduce((count, values) => count * values.length, 1);
}

export function sweepProblems(tried: Tried, sweep: Schema, hasValidation: boolean): Problem[] {
  const count = combinations(tried);
  const most = Math.max(...Object.values(sweep.properties ?? {}).map(({ maxItems = Infinity }) => maxItems));
  const found = problems(tried, sweep, "parameters");
  if (!found.length && (count < FEWEST || count > most)) {
    const made = counted(count, "candidate");
    const message = `Name values to try. They make ${made} now; between ${FEWEST} and ${most} can be compared.`;
    found.push({ path: "parameters", message });
  }
  if (!hasValidation) found.push({ path: "validation_file", message: "Candidates are compared on a validation file. Choose one." });
  return found;
}

/** Reads a text such as `0.1, 0.2`. A value that is a list has plus signs between its items: `q_proj+v_proj`. */
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
