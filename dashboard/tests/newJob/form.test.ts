import { expect, test } from "vitest";

import { EMPTY_DRAFT } from "@/lib/newJob/draft";
import { runWords } from "@/lib/newJob/graderExamples";
import { fieldWords, TRAINING_GROUPS, trainingGroupOf } from "@/lib/newJob/fieldWords";
import { isAdvanced } from "@/lib/newJob/isAdvanced";
import { peakLearningRate } from "@/lib/newJob/learningRate";
import { methodGroups } from "@/lib/newJob/methodGroups";
import { filledBy, recipeOf, RECIPES } from "@/lib/newJob/recipes";
import type { Method } from "@/lib/schemas/method";
import type { GraderRun } from "@/types/api";

const aMethod = (id: string, good_for = "") => ({ id, title: id.toUpperCase(), good_for, paper: null }) as unknown as Method;

test("a recipe changes the method alone, and the form knows which recipe it follows", () => {
  for (const recipe of RECIPES) {
    const draft = { ...EMPTY_DRAFT, model: "base", training_file: "file-1", ...filledBy(recipe) };
    expect([draft.model, draft.training_file]).toEqual(["base", "file-1"]);
    expect(recipeOf(draft)).toBe(recipe);
    expect(isAdvanced(draft)).toBe(false);
  }
  expect(recipeOf(EMPTY_DRAFT)).toBeUndefined();
});

test("adapters stand in groups, are found by words, and a new one is not lost", () => {
  const methods = [aMethod("oft", "keeps angles"), aMethod("lora", "almost everything"), aMethod("brandnew")];
  expect(methodGroups(methods, "").map(({ methods: group }) => group.map(({ id }) => id))).toEqual([["lora"], ["oft"], ["brandnew"]]);
  expect(methodGroups(methods, "ANGLES oft").flatMap(({ methods: group }) => group.map(({ id }) => id))).toEqual(["oft"]);
  expect(methodGroups(methods, "nothing")).toEqual([]);
});

test("options have words, and those of a newer service are spelt out and shown", () => {
  expect(fieldWords("r")).toBe("Rank");
  expect(fieldWords("some_new_option")).toBe("Some new option");
  expect(trainingGroupOf("some_new_option")).toBe(TRAINING_GROUPS.at(-1)?.title);
});

test("the peak of the learning rate is the rate times its multiplier", () => {
  const draft = { ...EMPTY_DRAFT, hyperparameters: { learning_rate_multiplier: 2 } };
  expect(peakLearningRate(draft, 1e-3)).toEqual({ peak: 2e-3, multiplier: 2, isUsual: false });
  expect(peakLearningRate({ ...draft, training: { learning_rate: "auto" } }, 1e-3).peak).toBeNull();
  expect(peakLearningRate(EMPTY_DRAFT, 2e-4).peak).toBe(2e-4);
});

test("an automatic multiplier is the objective's own, and the recipe for preferences trains at the rate it names", () => {
  const preferences = { ...EMPTY_DRAFT, objective: "dpo" };
  expect(peakLearningRate(preferences, 2e-4)).toEqual({ peak: 2e-4 * 0.1, multiplier: 0.1, isUsual: true });
  const recipe = RECIPES.find(({ id }) => id === "preferences");
  expect(recipe && peakLearningRate({ ...EMPTY_DRAFT, ...filledBy(recipe) }, 2e-4).peak).toBe(5e-5);
});

test("rewards train at a fifth of the usual rates", () => {
  expect(peakLearningRate({ ...EMPTY_DRAFT, objective: "reinforcement" }, 2e-4)).toEqual({ peak: 2e-4 * 0.2, multiplier: 0.2, isUsual: true });
});

test("a teacher trains at half of the usual rates", () => {
  expect(peakLearningRate({ ...EMPTY_DRAFT, objective: "distillation" }, 2e-4)).toMatchObject({ multiplier: 0.5, isUsual: true });
});

test("two options of one name have words of their own", () => {
  expect(fieldWords("eval_samples", "training.eval_samples")).toBe("Prompts that the model answers");
  expect(fieldWords("eval_samples", "method.reinforcement.hyperparameters.eval_samples")).toBe("Answers to each validation prompt");
});

test("a run of a grader says the reward with its parts, or why there is none", () => {
  const run = (errors: object, sub_rewards = {}) => ({ reward: 0.7, sub_rewards, metadata: { errors } }) as unknown as GraderRun;
  expect(runWords(run({ other_error: false }))).toBe("Reward 0.7000");
  expect(runWords(run({}, { exact: 1, similar: 0 }))).toBe("Reward 0.7000, of exact 1.000 and similar 0");
  expect(runWords(run({ invalid_variable_error: true }))).toBe("No reward: invalid variable error");
  const details = "line 4: ZeroDivisionError: division by zero";
  const failed = { python_grader_runtime_error: true, python_grader_runtime_error_details: details };
  expect(runWords(run(failed))).toBe(`No reward: ${details}`);
});

test("settings that the form folds away open their part", () => {
  expect(isAdvanced({ ...EMPTY_DRAFT, training: { learning_rate: 1 }, hyperparameters: { n_epochs: 2 } })).toBe(false);
  expect(isAdvanced({ ...EMPTY_DRAFT, training: { eval_steps: 5 } })).toBe(true);
  expect(isAdvanced({ ...EMPTY_DRAFT, top: { seed: 1 } })).toBe(true);
});
