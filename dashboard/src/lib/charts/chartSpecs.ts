/** The charts of a job's metrics. The values of a measure in training and in validation share a chart. */

import { gigabytes, significant, spoken } from "@/lib/text/format";

import { AXIS_COLUMNS } from "./axes";

export interface Column {
  name: string;
  label: string;
  /** Whether every step has a value, so that the line may be smoothed. Other columns are drawn as points. */
  dense: boolean;
}

export interface ChartSpec {
  /** The part that the names of the columns share. */
  measure: string;
  title: string;
  columns: Column[];
  /** Writes a value. */
  format: (value: number | null | undefined) => string;
  /** Which value is the best one, if one is. */
  best?: "smallest" | "largest";
}

const TITLES: Record<string, string> = {
  loss: "Loss",
  mean_token_accuracy: "Token accuracy",
  learning_rate: "Learning rate",
  grad_norm: "Gradient norm",
  tokens_per_second: "Tokens per second",
  trainer_memory_bytes: "Trainer's memory",
};
const BEST: Record<string, ChartSpec["best"]> = { loss: "smallest", mean_token_accuracy: "largest" };
const PREFIXES = [
  ["full_valid_", "validation, whole set", false],
  ["valid_", "validation, part of it", false],
  ["train_", "training", true],
] as const;
const NO_MEASURES = new Set(["total_steps", "candidate", ...AXIS_COLUMNS]);

export function chartSpecs(names: readonly string[]): ChartSpec[] {
  const specs = new Map<string, ChartSpec>(Object.keys(TITLES).map((measure) => [measure, emptySpec(measure)]));
  for (const name of names) {
    if (NO_MEASURES.has(name)) continue;
    const [measure, column] = chartOf(name);
    const spec = specs.get(measure) ?? emptySpec(measure);
    spec.columns.push(column);
    specs.set(measure, spec);
  }
  for (const { columns } of specs.values()) columns.sort((a, b) => Number(b.dense) - Number(a.dense));
  return [...specs.values()].filter((spec) => spec.columns.length);
}

function emptySpec(measure: string): ChartSpec {
  const title = TITLES[measure] ?? spoken(measure);
  const format = measure.endsWith("_bytes") ? gigabytes : significant;
  return { measure, title, columns: [], format, ...(BEST[measure] && { best: BEST[measure] }) };
}

function chartOf(name: string): [string, Column] {
  for (const [prefix, label, dense] of PREFIXES) {
    if (name.startsWith(prefix)) return [name.slice(prefix.length), { name, label, dense }];
  }
  return [name, { name, label: "training", dense: true }];
}
