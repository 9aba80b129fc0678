/** The charts of a job's metrics. The values of a metric in training and in validation share a chart. */

import { GIGA, gigabytes, significant, spoken } from "@/lib/text/format";

import { AXIS_COLUMNS } from "./axes";
import { tickTexts } from "./ticks";

export interface Column {
  name: string;
  label: string;
  /** Whether the values jump from step to step, so that a smoothed line helps. Other columns are drawn as points. */
  noisy: boolean;
  /** The column whose value at step 0 this column has at every step, as a level to compare with. */
  levelOf?: string;
}

export interface ChartSpec {
  /** The part that the names of the columns share. */
  metric: string;
  title: string;
  columns: Column[];
  /** Writes a value. */
  format: (value: number | null | undefined) => string;
  /** Writes the ticks of the axis, with as many digits as tell them apart. */
  ticks: (ticks: readonly (number | null)[]) => string[];
  /** Which value is the best one, if one is. */
  best?: "smallest" | "largest";
}

const REWARD = "mean_reward";
const REVERSE_KL = "mean_reverse_kl";
/** What a job measures of the answers from which it learns, each with the name of its level before the training. */
const LEARNT: Record<string, string> = { [REWARD]: "reward_before_training", [REVERSE_KL]: "reverse_kl_before_training" };
const TITLES: Record<string, string> = {
  [REWARD]: "Mean reward",
  [REVERSE_KL]: "Mean reverse KL, in nats",
  mean_audit: "Mean audit",
  prompt_reward: "Reward by prompt",
  loss: "Loss",
  mean_token_accuracy: "Token accuracy",
  completion_tokens_mean: "Completion length, in tokens",
  completion_tokens_ratio: "Growth of the length since the first validation",
  truncated_mean: "Truncated share",
  repetition_mean: "Repeated share",
  entropy: "Entropy",
  tool_calls_mean: "Calls of tools in an answer",
  tool_error_mean: "Share of answers of which a tool failed",
  policy_gap: "Policy gap, in nats",
  groups: "Groups without variance",
  mean_parse_error: "Share of parse errors",
  teacher_tokens: "Tokens that the teacher has read",
  teacher_error_mean: "Share of answers that the teacher could not read",
  ratio_mean: "Mean ratio",
  clip_fraction: "Clipped share",
  learning_rate: "Learning rate",
  grad_norm: "Gradient norm",
  tokens_per_second: "Tokens per second",
  trainer_memory_bytes: "Trainer's memory",
};
const BEST: Record<string, ChartSpec["best"]> = { [REWARD]: "largest", [REVERSE_KL]: "smallest", mean_audit: "largest", loss: "smallest", mean_token_accuracy: "largest" };
/** Metrics that share a chart, each with its label there. */
const SHARED: Record<string, readonly [metric: string, label: string, noisy: boolean]> = {
  full_valid_prompt_reward_p90: ["prompt_reward", "nine tenths have at most", false],
  full_valid_prompt_reward_p50: ["prompt_reward", "half have at most", false],
  full_valid_prompt_reward_p10: ["prompt_reward", "a tenth has at most", false],
  policy_gap_mean: ["policy_gap", "mean", true],
  policy_gap_max: ["policy_gap", "largest", true],
  groups_without_variance: ["groups", "without variance", true],
  groups: ["groups", "all groups", true],
};
const PREFIXES = [
  ["full_valid_", "validation, whole set", false],
  ["valid_", "validation, part of it", false],
  ["train_", "training", true],
] as const;
// These are known exactly: a smoothed line would show a learning rate or a memory that never was.
const EXACT = new Set(["learning_rate", "trainer_memory_bytes", "adapter_rank_budget"]);
const NO_METRICS = new Set(["total_steps", "candidate", ...AXIS_COLUMNS]);

export function chartSpecs(names: readonly string[]): ChartSpec[] {
  const specs = new Map<string, ChartSpec>(Object.keys(TITLES).map((metric) => [metric, emptySpec(metric)]));
  for (const name of names) {
    if (NO_METRICS.has(name)) continue;
    const [metric, column] = chartOf(name);
    const spec = specs.get(metric) ?? emptySpec(metric);
    spec.columns.push(column);
    specs.set(metric, spec);
  }
  for (const { columns } of specs.values()) columns.sort((a, b) => Number(b.noisy) - Number(a.noisy));
  return [...specs.values()].filter((spec) => spec.columns.length);
}

/**
 * Returns the charts of one job. If it learns from its own answers, its loss says nothing about what was learnt, and
 * what was measured before the first step is the level from which it starts. All its validations take the whole set.
 */
export function jobCharts(names: readonly string[]): ChartSpec[] {
  const specs = chartSpecs(names);
  if (!specs.some(({ metric }) => metric in LEARNT)) return specs;
  return specs
    .filter(({ metric }) => metric !== "loss")
    .map((spec) => ({ ...spec, columns: spec.columns.filter(({ name }) => !name.startsWith("valid_")) }))
    .map((spec) => withLevel(spec));
}

function withLevel(spec: ChartSpec): ChartSpec {
  const name = LEARNT[spec.metric];
  if (!name) return spec;
  const level = { name, label: "before training", noisy: false, levelOf: `full_valid_${spec.metric}` };
  return { ...spec, columns: [...spec.columns, level] };
}

function emptySpec(metric: string): ChartSpec {
  const title = TITLES[metric] ?? spoken(metric);
  const writing = metric.endsWith("_bytes") ? { format: gigabytes, ticks: gigabyteTicks } : { format: significant, ticks: tickTexts };
  return { metric, title, columns: [], ...writing, ...(BEST[metric] && { best: BEST[metric] }) };
}

function gigabyteTicks(ticks: readonly (number | null)[]): string[] {
  return tickTexts(ticks.map((tick) => tick && tick / GIGA)).map((text) => text && `${text} GB`);
}

function chartOf(name: string): [string, Column] {
  const shared = SHARED[name];
  if (shared) return [shared[0], { name, label: shared[1], noisy: shared[2] }];
  for (const [prefix, label, noisy] of PREFIXES) {
    if (name.startsWith(prefix)) return [name.slice(prefix.length), { name, label, noisy }];
  }
  return [name, { name, label: "training", noisy: !EXACT.has(name) }];
}
