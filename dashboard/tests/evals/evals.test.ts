import { describe, expect, test } from "vitest";

import { parseEvalSearch } from "@/lib/addresses/evalSearch";
import { againstBase, chosenRuns, isOfForgetting, type JudgedEval, missingRuns, resultsOf, shownEvals } from "@/lib/evals/chosenRuns";
import { intervalWords, pWords, samplesWords, signed } from "@/lib/evals/evalWords";
import { answerOf, expectedOf, promptOf } from "@/lib/evals/rowTexts";
import { wordDifference } from "@/lib/evals/wordDifference";
import type { CriterionResult, EvalRun, OutputItem } from "@/types/api";

const COMPLETED = { status: "completed", metadata: null, data_source: { source: { type: "file_id" } } };
const run = (id: string, model: string, fields: object = {}) => ({ ...COMPLETED, id, model, ...fields }) as unknown as EvalRun;
const ids = ({ base, tuned }: ReturnType<typeof chosenRuns>) => [base?.id, tuned?.id];

describe("the runs that are compared", () => {
  const runs = [run("4", "ft:b"), run("3", "ft:a", { status: "failed" }), run("2", "base"), run("1", "ft:a")];

  test("are the newest of the base model and the newest other one", () => {
    expect(ids(chosenRuns(runs))).toEqual(["2", "4"]);
    expect(ids(chosenRuns([run("2", "one"), run("1", "other")]))).toEqual(["1", "2"]);
    expect(ids(chosenRuns([run("2", "ft:a"), run("1", "ft:parent", { metadata: { model: "base" } })]))).toEqual(["1", "2"]);
    expect(ids(chosenRuns([run("1", "base")]))).toEqual(["1", undefined]);
    expect(ids(chosenRuns([]))).toEqual([undefined, undefined]);
  });

  test("are those that the address names, if they have completed", () => {
    expect(ids(chosenRuns(runs, { base: "4", tuned: "1" }))).toEqual(["4", "1"]);
    expect(ids(chosenRuns(runs, { base: "3", tuned: "2" }))).toEqual(["2", "4"]);
    expect(missingRuns(runs, { base: "3", tuned: "2" })).toEqual(["3"]);
    expect(missingRuns(runs, { tuned: "gone" })).toEqual(["gone"]);
    expect(missingRuns(runs, {})).toEqual([]);
    expect(parseEvalSearch({ base: "4", tuned: 1, change: "worse", criterion: "" })).toEqual({ base: "4", change: "worse" });
  });
});

test("the evals of a job are told apart by their rows", () => {
  const general = { data_source: { source: { type: "general" } } };
  const results = [{ name: "loss", value: 1 }];
  const judged = (id: string, ...runs: EvalRun[]) => ({ eval: { id }, runs }) as unknown as JudgedEval;
  const evals = [judged("3", run("1", "base", general)), judged("2", run("3", "ft:a", { criteria: results }), run("2", "base")), judged("1")];
  expect(evals.map(isOfForgetting)).toEqual([true, false, false]);
  expect([shownEvals(evals).result?.eval.id, shownEvals(evals).forgetting?.eval.id]).toEqual(["2", "3"]);
  expect(resultsOf(evals)).toEqual(results);
  expect(resultsOf([])).toEqual([]);
  expect(shownEvals([judged("4"), ...evals]).result?.eval.id).toBe("2");
  expect(shownEvals([judged("1")])).toEqual({ result: undefined, forgetting: undefined });
});

test("an adapter is compared with its base in each eval that judges both, whatever else is judged there", () => {
  const judged = (id: string, ...runs: EvalRun[]) => ({ eval: { id }, runs }) as unknown as JudgedEval;
  const several = judged("1", run("4", "ft:other"), run("3", "ft:a"), run("2", "other base"), run("1", "base"));
  const ofParent = judged("2", run("6", "ft:a"), run("5", "ft:parent", { metadata: { model: "base" } }));
  const alone = [judged("3", run("7", "ft:a")), judged("4", run("8", "base")), judged("5")];
  const found = againstBase([several, ofParent, ...alone], { model: "ft:a", base_model: "base" });
  expect(found.map(({ eval: { id }, runs }) => [id, ...runs.map((one) => one.id)])).toEqual([["1", "3", "1"], ["2", "6", "5"]]);
  expect(ids(chosenRuns(found[0]?.runs ?? []))).toEqual(["1", "3"]);
});

test("numbers are written with their sign and their interval", () => {
  expect([signed(-0.1234), signed(0.5), signed(0), signed(null)]).toEqual(["−0.12", "+0.5", "0", "–"]);
  expect([pWords(0.00001), pWords(0.0456), pWords(1), pWords(null)]).toEqual(["< 0.001", "0.046", "1", "–"]);
  expect([intervalWords({ low: -0.5, high: 1 }), intervalWords({ low: null, high: null })]).toEqual(["−0.5000 to 1.000", null]);
});

test("several samples of each row say how often one passes, and whether there is anything to learn", () => {
  const sampled = { rows: 12, rows_without_variance: 11, pass_at_k: { 1: 0.25, 2: 0.4, 16: 0.75 }, verdict: "too_hard" };
  const words = (fields: object | null) => samplesWords({ sampled: fields && { ...sampled, ...fields } } as unknown as CriterionResult);
  expect(words({})).toEqual(["pass@16 0.7500", "11 of 12 rows without variance", "too hard"]);
  expect(words({ pass_at_k: null, verdict: "no_variance" })).toEqual(["11 of 12 rows without variance", "no variance"]);
  expect(words(null)).toEqual([]);
});

describe("the difference of two answers", () => {
  const marked = (one: string, other: string) =>
    wordDifference(one, other).map((pieces) => pieces.map(({ text, differs }) => (differs ? `[${text}]` : text)).join(""));

  test("marks the words that the other answer does not have at this place", () => {
    expect(marked("It is a cat.", "It is a big dog.")).toEqual(["It is a [cat].", "It is a [big dog]."]);
    expect(marked("yes", "no")).toEqual(["[yes]", "[no]"]);
    expect(marked("same", "same")).toEqual(["same", "same"]);
    expect(marked("", "new")).toEqual(["", "[new]"]);
  });

  test("joins to the whole answer, whatever it holds", () => {
    for (const text of ["ü ☃ 日本語\n\n  <b>x</b>", "word ".repeat(2000)]) {
      expect(wordDifference(text, "word other").map((pieces) => pieces.map((one) => one.text).join(""))[0]).toBe(text);
    }
  });
});

test("a row shows what was asked, what it expects and what the model wrote", () => {
  const empty = { input: [], output: [] } as unknown as OutputItem["sample"];
  const message = { role: "user", content: "2 + 2?" };
  const item = { input: [message], reference: "4", messages: [] };
  expect(promptOf(item, empty)).toBe("2 + 2?");
  expect(promptOf(item, { ...empty, input: [{ role: "system", content: "Be brief." }, message] })).toBe("system: Be brief.\n\nuser: 2 + 2?");
  expect(promptOf({ question: "x" }, empty)).toBe('{\n  "question": "x"\n}');
  expect([expectedOf(item), expectedOf({ answer: "yes" }), expectedOf({})]).toEqual(["4", "yes", null]);
  expect([answerOf(empty), answerOf({ ...empty, output: [{ role: "assistant", content: "" }] })]).toEqual([null, ""]);
});
