import { describe, expect, test } from "vitest";

import { baselineOf, parseCompareSearch, jobIds, withJob, withoutJob } from "@/lib/addresses/compareSearch";
import { lineStyleOf } from "@/lib/charts/lineStyles";
import { overlaid, type Training, trainingCharts, trainingRows, valueAt } from "@/lib/charts/trainings";
import { Series, type StepValues } from "@/lib/charts/series";
import { differingConditions, percentOff, resultOf, settingRows } from "@/lib/jobs/comparison";
import type { Job } from "@/types/api";

import { aJob } from "./aJob";

function aTraining(styleIndex: number, points: StepValues[], stepsPerEpoch: number | null = null): Training {
  const series = new Series();
  series.add(points);
  return { id: `training-${styleIndex}`, name: `training ${styleIndex}`, styleIndex, series, stepsPerEpoch };
}

describe("the selection", () => {
  test("keeps the positions of the other jobs when one is removed, and fills the empty position first", () => {
    const left = withoutJob("a,b,c", "b");
    expect(jobIds(left)).toEqual(["a", null, "c"]);
    expect(withJob(left, "d")).toBe("a,d,c");
    expect(withJob("a,d,c", "d")).toBe("a,d,c");
    expect(withoutJob("a,b", "b")).toBe("a");
    expect(withJob(undefined, "a")).toBe("a");
  });

  test("has its first job as the baseline if the address names none of its jobs", () => {
    expect(baselineOf(["a", "b"], "b")).toBe("b");
    expect(baselineOf(["a", "b"], "taken-out")).toBe("a");
    expect(baselineOf(["a", "b"], undefined)).toBe("a");
    expect(baselineOf([], "b")).toBe("");
  });

  test("holds each job once, and not too many jobs, whatever the address says", () => {
    expect(parseCompareSearch({ jobs: "a, a,,b,", base: 3, show: "x", x: "money" })).toEqual({ jobs: "a,,,b", show: "x" });
    expect(jobIds(Array.from({ length: 50 }, (_, at) => `job-${at}`).join())).toHaveLength(12);
    expect(parseCompareSearch({})).toEqual({});
  });
});

test("the first forty looks are all different, and neighbours differ in colour and in dashes", () => {
  const looks = Array.from({ length: 40 }, (_, styleIndex) => lineStyleOf(styleIndex));
  expect(new Set(looks.map((look) => JSON.stringify(look))).size).toBe(40);
  for (const [at, { colour, dash }] of looks.entries()) {
    const next = lineStyleOf(at + 1);
    expect(colour).not.toBe(next.colour);
    expect(dash).not.toEqual(next.dash);
  }
});

describe("curves over each other", () => {
  const column = { name: "train_loss", label: "training", noisy: false };
  const view = { zoom: null, smoothing: 0, log: false, buckets: 100 };
  const short = aTraining(0, [{ step: 1, train_loss: 3 }, { step: 2, train_loss: 2 }], 1);
  const long = aTraining(1, [1, 2, 3, 4].map((step) => ({ step, train_loss: 10 * step })), 2);

  test("share the steps", () => {
    expect(overlaid([short, long], column, "step", view)).toEqual([
      [1, 2, 3, 4],
      [3, 2, undefined, undefined],
      [10, 20, 30, 40],
    ]);
  });

  test("meet at the same epoch, however many steps an epoch has", () => {
    const [x, first, second] = overlaid([short, long], column, "epoch", view);
    expect(x).toEqual([0.5, 1, 1.5, 2]);
    expect(first).toEqual([undefined, 3, undefined, 2]);
    expect(second).toEqual([10, 20, 30, 40]);
  });

  test("meet at the same time of training and give their values there", () => {
    const slow = aTraining(0, [1, 2].map((step) => ({ step, train_loss: step, trained_seconds: 10 * step })));
    const fast = aTraining(1, [1, 2].map((step) => ({ step, train_loss: -step, trained_seconds: 5 * step })));
    expect(overlaid([slow, fast], column, "time", view)).toEqual([[5, 10, 20], [undefined, 1, 2], [-1, -2, undefined]]);
    expect(valueAt(fast, "train_loss", "time", 9)).toBe(-1);
    expect(valueAt(fast, "train_loss", "time", 11)).toBeNaN();
  });

  test("give the last value at or before an x, and none after their end", () => {
    expect(valueAt(short, "train_loss", "epoch", 1.5)).toBe(3);
    expect(valueAt(long, "train_loss", "epoch", 1.5)).toBe(30);
    expect(valueAt(short, "train_loss", "step", 3)).toBeNaN();
    expect(valueAt(short, "other", "step", 1)).toBeNaN();
  });

  test("give rows, with no value where a training has none", () => {
    expect(trainingRows([short, long], "train_loss")).toEqual([[1, 3, 10], [2, 2, 20], [3, NaN, 30], [4, NaN, 40]]);
  });

  test("exist for every metric that any training has", () => {
    const trainings = [short, aTraining(1, [{ step: 1, train_loss: 1, full_valid_loss: 1, learning_rate: 1 }])];
    expect(trainingCharts(trainings).map(({ title }) => title)).toEqual(["Loss, training", "Loss, validation, whole set", "Learning rate"]);
  });
});

test("a setting that differs, or that one job lacks, is marked", () => {
  const jobs = [aJob(1, { adapter: { type: "lora", r: 4 } as never }), aJob(2, { adapter: { type: "oft" } as never })];
  const rows = settingRows(jobs);
  const differing = rows.filter(({ differs }) => differs).map(({ path, values }) => [path, ...values]);
  expect(differing).toEqual([["adapter.type", "lora", "oft"], ["adapter.r", "4", "–"]]);
  expect(rows.find(({ path }) => path === "model")).toMatchObject({ differs: false });
});

test("a result is the best loss, the median speed, and the time since the start", () => {
  const { series } = aTraining(0, [
    { step: 1, full_valid_loss: 2, tokens_per_second: 1 },
    { step: 2, full_valid_loss: 1.5, tokens_per_second: 100 },
    { step: 3, full_valid_loss: 1.75, tokens_per_second: 10 },
  ]);
  const job = aJob(1, { started_at: 100, trained_tokens: 7 });
  expect(resultOf(job, series, 130)).toEqual({ bestLoss: 1.5, tokensPerSecond: 10, seconds: 30, trainedTokens: 7 });
  expect(resultOf(aJob(1), undefined, 130)).toEqual({ bestLoss: null, tokensPerSecond: null, seconds: null, trainedTokens: null });
  expect(percentOff(1.5, 2)).toBe(-25);
  expect(percentOff(1.5, null)).toBeNull();
  expect(percentOff(1, 0)).toBeNull();
});

test("speeds are compared only on the same data", () => {
  expect(differingConditions("speed", aJob(1), aJob(2, { training_file: "file-9" }))).toEqual(["training file"]);
  expect(differingConditions("speed", aJob(1), aJob(2, { seed: 9 }))).toEqual([]);
});

describe("losses are compared", () => {
  const base = aJob(1, { validation_file: "file-2" });
  const dpo = (beta: number, n_epochs = 3) =>
    ({ type: "dpo", dpo: { hyperparameters: { n_epochs, batch_size: 4, learning_rate_multiplier: 1, beta } } }) as Job["method"];

  test("whatever data a job trains on, and however long", () => {
    const other = aJob(2, { validation_file: "file-2", training_file: "file-3", seed: 7, adapter: { type: "oft" } as never });
    expect(differingConditions("loss", other, base)).toEqual([]);
    expect(differingConditions("loss", aJob(1, { method: dpo(0.1) }), aJob(2, { method: dpo(0.1, 9) }))).toEqual([]);
  });

  test("only with the same validation file, base model, objective and row length", () => {
    expect(differingConditions("loss", aJob(2, { validation_file: "file-3" }), base)).toEqual(["validation file"]);
    expect(differingConditions("loss", aJob(2, { ...base, model: "other" }), base)).toEqual(["base model"]);
    expect(differingConditions("loss", aJob(2, { ...base, method: dpo(0.1) }), base)).toEqual(["objective"]);
    expect(differingConditions("loss", aJob(1, { method: dpo(0.1) }), aJob(2, { method: dpo(0.5) }))).toEqual(["objective"]);
    const long = { devices: 1, max_length: 4096 } as Job["training"];
    expect(differingConditions("loss", aJob(2, { ...base, training: long }), base)).toEqual(["maximum row length"]);
  });
});
