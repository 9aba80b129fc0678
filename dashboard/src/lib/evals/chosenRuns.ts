/** Chooses which two runs of an eval are compared, and which evals of a job are shown. */

import type { CreateEval, CriterionResult, Eval, EvalRun, Job } from "@/types/api";

/** An eval with its runs, newest first. */
export interface JudgedEval {
  eval: Eval;
  runs: readonly EvalRun[];
}

export interface ChosenRuns {
  base: EvalRun | undefined;
  tuned: EvalRun | undefined;
}

export const hasCompleted = ({ status }: EvalRun): boolean => status === "completed";

/**
 * Returns the runs that the address names. If it names none, the base is the newest completed run of the base model, and
 * the tuned run is the newest other completed one. If all runs judge base models, the oldest of them is the base.
 */
export function chosenRuns(runs: readonly EvalRun[], named: { base?: string; tuned?: string } = {}): ChosenRuns {
  const completed = runs.filter(hasCompleted);
  const ofBase = completed.filter(isOfBase);
  const usual = ofBase.length < completed.length ? ofBase[0] : undefined;
  const base = completed.find(({ id }) => id === named.base) ?? usual ?? completed.at(-1);
  const others = completed.filter((run) => run !== base);
  const tuned = others.find(({ id }) => id === named.tuned) ?? others.find((run) => !isOfBase(run)) ?? others[0];
  return { base, tuned };
}

/** Returns the ids of the runs that the address names, but that are not among the given completed runs. */
export function missingRuns(runs: readonly EvalRun[], { base, tuned }: { base?: string; tuned?: string }): string[] {
  const found = new Set(runs.filter(hasCompleted).map(({ id }) => id));
  return [base, tuned].filter((id): id is string => id !== undefined && !found.has(id));
}

/** Returns whether a run judges a base model: the name of a fine-tuned model begins with `ft:`. */
export function isOfBase({ model, metadata }: EvalRun): boolean {
  return metadata?.model ? metadata.model === "base" : !model.startsWith("ft:");
}

/** Returns whether the runs ask the general questions, which show what a model has forgotten. */
export function isOfForgetting({ runs }: JudgedEval): boolean {
  return runs.some(({ data_source }) => data_source.source.type === "general");
}

/**
 * Returns the newest eval of a job's result, and the newest that shows what the model has forgotten. An eval without runs
 * says nothing, so it is not shown.
 */
export function shownEvals(evals: readonly JudgedEval[]) {
  const withRuns = evals.filter(({ runs }) => runs.length > 0);
  return {
    result: withRuns.find((one) => !isOfForgetting(one)),
    forgetting: withRuns.find(isOfForgetting),
  };
}

/**
 * Returns the evals that judge a model and its base. Of each, only the runs of these two are left, because the eval may
 * judge other models too.
 */
export function againstBase(evals: readonly JudgedEval[], { model, base_model }: { model: string; base_model: string }): JudgedEval[] {
  const isBase = (run: EvalRun) => run.model === base_model || run.metadata?.model === "base";
  return evals
    .map((one) => ({ ...one, runs: one.runs.filter((run) => run.model === model || isBase(run)) }))
    .filter(({ runs }) => runs.some(isBase) && !runs.every(isBase));
}

/** Returns what the newest eval of a job's result found for the tuned model. */
export function resultsOf(evals: readonly JudgedEval[]): readonly CriterionResult[] {
  return chosenRuns(shownEvals(evals).result?.runs ?? []).tuned?.criteria ?? [];
}

export const NEEDS_A_GRADER = "The rows are prompts without answers, so only a grader can judge what a model answers: tunery evaluate --grader.";

export type Criteria = CreateEval["testing_criteria"];

/** Returns the criteria that the service takes if the job asks for an evaluation without naming any; [] if it takes none. */
export function usualCriteria({ method }: Job): Criteria {
  if (method.type === "reinforcement") return [method.reinforcement.grader] as Criteria; // what the API answers, it takes
  return criteriaOfRows({ supervised: "chat", distillation: "prompt" }[method.type as string] ?? "other");
}

/**
 * Returns the criteria for a file's kind of rows: what a model writes is only judged if one answer is right. Prompts have
 * no answers, so only a grader can judge them.
 */
export function criteriaOfRows(kind: string): Criteria {
  if (kind === "prompt") return [];
  return kind === "chat" ? [{ type: "loss" }, { type: "exact_match" }] : [{ type: "loss" }];
}
