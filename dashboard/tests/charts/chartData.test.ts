import { describe, expect, test } from "vitest";

import { axesOf, stepsWithin, xInWords, xOf } from "@/lib/charts/axes";
import { extent, linesOf, valuesOf, type View } from "@/lib/charts/chartData";
import { chartSpecs, jobCharts } from "@/lib/charts/chartSpecs";
import { Series } from "@/lib/charts/series";
import { smooth } from "@/lib/charts/smoothing";
import { indicesToDraw } from "@/lib/charts/thinning";

describe("smoothing", () => {
  test("of a constant is that constant from the first step on", () => {
    for (const value of smooth(Float64Array.of(5, 5, 5), 0.9)) expect(value).toBeCloseTo(5, 12);
  });

  test("weighs the past as its formula says", () => {
    const [, second] = smooth(Float64Array.of(1, 3), 0.5);
    expect(second).toBeCloseTo((0.25 * 1 + 0.5 * 3) / 0.75, 12);
  });

  test("of weight 0 changes nothing", () => {
    expect(Array.from(smooth(Float64Array.of(1, 7, 2), 0))).toEqual([1, 7, 2]);
  });

  test("continues after a step without a value", () => {
    const smoothed = Array.from(smooth(Float64Array.of(1, NaN, 3), 0.5));
    expect(smoothed[1]).toBeNaN();
    expect(smoothed[2]).toBe(smooth(Float64Array.of(1, 3), 0.5)[1]);
  });
});

describe("the indices to draw", () => {
  const calm = new Float64Array(100_000).fill(1);

  test("hold an outlier of any column", () => {
    const high = calm.slice();
    const low = calm.slice();
    high[54_321] = 99;
    low[12_345] = -99;
    const indices = indicesToDraw([high, low], 0, calm.length, 300);
    expect(indices).toContain(54_321);
    expect(indices).toContain(12_345);
    expect(indices.length).toBeLessThanOrEqual(300 * 6);
  });

  test("ascend, each once, from the first to the last", () => {
    const values = calm.map(() => Math.random());
    const indices = Array.from(indicesToDraw([values], 10, 90_000, 200));
    expect(indices).toEqual([...new Set(indices)].sort((a, b) => a - b));
    expect([indices[0], indices.at(-1)]).toEqual([10, 89_999]);
  });

  test("are all indices if there are few", () => {
    expect(Array.from(indicesToDraw([calm], 3, 6, 100))).toEqual([3, 4, 5]);
    expect(indicesToDraw([calm], 0, 0, 100)).toHaveLength(0);
  });

  test("hold the only value of a sparse column", () => {
    const sparse = calm.map(() => NaN);
    sparse[77_777] = 2;
    expect(indicesToDraw([calm, sparse], 0, calm.length, 100)).toContain(77_777);
  });
});

describe("the lines of a chart", () => {
  const series = new Series();
  series.add([1, 2, 3, 4, 5, 6].map((step) => ({ step, train_loss: step - 1, ...(step === 4 && { valid_loss: 9 }) })));
  const [spec] = chartSpecs(series.names);
  const view: View = { zoom: null, smoothing: 0, log: false, buckets: 100 };
  if (!spec) throw new Error("no chart");
  const { columns } = spec;

  test("are the raw and the smoothed values of training, and the points of validation", () => {
    const [x, raw, smoothed, valid] = linesOf(series, columns, series.steps, { ...view, smoothing: 0.5 });
    expect(x).toEqual([1, 2, 3, 4, 5, 6]);
    expect(raw).toEqual([0, 1, 2, 3, 4, 5]);
    expect(smoothed?.[1]).toBeCloseTo(2 / 3, 12);
    expect(valid).toEqual([null, null, null, 9, null, null]);
  });

  test("have epochs as x if the axis is epochs", () => {
    expect(linesOf(series, columns, xOf({ series, stepsPerEpoch: 2 }, "epoch"), view)[0]).toEqual([0.5, 1, 1.5, 2, 2.5, 3]);
  });

  test("leave out values that a logarithmic axis cannot show", () => {
    expect(linesOf(series, columns, series.steps, { ...view, log: true })[1]).toEqual([null, 1, 2, 3, 4, 5]);
  });

  test("reach one step beyond a zoomed part at each end", () => {
    expect(linesOf(series, columns, series.steps, { ...view, zoom: [3, 4] })[0]).toEqual([2, 3, 4, 5]);
  });
});

describe("the x of a chart", () => {
  const stepsAt = (seconds: (number | null)[]) => {
    const series = new Series();
    series.add(seconds.map((trained_seconds, at) => ({ step: at + 1, train_loss: at, trained_seconds, trained_tokens: 100 * at })));
    return { series, stepsPerEpoch: 2 };
  };

  test("is the time of training or the tokens, as the axis asks", () => {
    const steps = stepsAt([1.5, 3, 4.5]);
    expect(Array.from(xOf(steps, "time"))).toEqual([1.5, 3, 4.5]);
    expect(Array.from(xOf(steps, "tokens"))).toEqual([0, 100, 200]);
    expect(axesOf([steps])).toEqual(["step", "epoch", "time", "tokens"]);
  });

  test("never falls while steps are made again, or uPlot would draw nothing", () => {
    expect(Array.from(xOf(stepsAt([1, 2, 9, 4]), "time"))).toEqual([1, 2, 9, 9]);
  });

  test("leaves out steps that have no such value", () => {
    const steps = stepsAt([null, null, 3, 4]);
    const columns = [{ name: "train_loss", label: "", noisy: false }];
    const view = { zoom: null, smoothing: 0, log: false, buckets: 100 };
    expect(linesOf(steps.series, columns, xOf(steps, "time"), view)).toEqual([[3, 4], [2, 3]]);
    const zoomed = linesOf(steps.series, columns, xOf(steps, "time"), { ...view, zoom: [0, 1] });
    expect(zoomed[0]).toEqual([3, 4]);
  });

  test("gives the steps of a zoomed part, with one more at each end", () => {
    expect(stepsWithin(stepsAt([1, 2, 3, 4, 5, 6]), "time", [2.5, 4.5])).toEqual([2, 5]);
    expect(stepsWithin(stepsAt([1, 2, 3, 4, 5, 6]), "step", [-1, 99])).toEqual([1, 6]);
  });

  test("is not an axis that a training does not know", () => {
    expect(axesOf([stepsAt([1, 2]), stepsAt([null, null])])).toEqual(["step", "epoch", "tokens"]);
    expect(axesOf([{ ...stepsAt([1]), stepsPerEpoch: null }])).toEqual(["step", "time", "tokens"]);
    expect(axesOf([stepsAt([1, 2]), { series: new Series(), stepsPerEpoch: 2 }])).toHaveLength(4);
  });

  test.each([
    ["step", 1234, "step 1,234"],
    ["epoch", 1.5, "epoch 1.500"],
    ["time", 0.25, "0.25 s"],
    ["time", 65, "1:05"],
    ["time", 7265.4, "2:01:05"],
    ["tokens", 1_234_000, "1.234M tokens"],
  ] as const)("by %s, %d, is written %s", (axis, x, words) => expect(xInWords(axis, x)).toBe(words));
});

test.each([
  [[], [0, 1]],
  [[1], [0.5, 1.5]],
  [[2, 3, 7], [2, 7]],
])("the axis of %j is from %j, never of no width", (x, bounds) => expect(extent(x)).toEqual(bounds));

test("training and validation of a metric share a chart, and other columns get none", () => {
  const specs = chartSpecs(["total_steps", "train_loss", "learning_rate", "full_valid_loss", "valid_loss", "margin", "trainer_memory_bytes", "trained_seconds"]);
  expect(specs.map(({ metric, columns }) => [metric, ...columns.map(({ name }) => name)])).toEqual([
    ["loss", "train_loss", "full_valid_loss", "valid_loss"],
    ["learning_rate", "learning_rate"],
    ["trainer_memory_bytes", "trainer_memory_bytes"],
    ["margin", "margin"],
  ]);
});

describe("the charts of a job that learns from rewards", () => {
  const series = new Series();
  series.add([{ step: 0, full_valid_mean_reward: 0.25 }, { step: 1, train_mean_reward: 0.5, train_loss: 2 }, { step: 2, train_mean_reward: 0.75, full_valid_mean_reward: 1 }]);
  const [reward, ...others] = jobCharts([...series.names, "valid_mean_reward", "learning_rate", "policy_gap_max", "policy_gap_mean", "groups", "groups_without_variance"]);

  test("begin with the reward, have none of the loss, and put into one what belongs together", () => {
    expect(reward?.columns.map(({ name, label }) => [name, label])).toEqual([
      ["train_mean_reward", "training"],
      ["full_valid_mean_reward", "validation, whole set"],
      ["reward_before_training", "before training"],
    ]);
    expect(others.map(({ metric, columns }) => [metric, ...columns.map(({ label }) => label)])).toEqual([
      ["policy_gap", "largest", "mean"],
      ["groups", "all groups", "without variance"],
      ["learning_rate", "training"],
    ]);
  });

  test("show the reward before training at every step", () => {
    const view = { zoom: null, smoothing: 0, log: false, buckets: 100 };
    const lines = linesOf(series, reward?.columns ?? [], series.steps, view);
    expect(lines.at(-1)).toEqual([0.25, 0.25, 0.25]);
    expect(lines.at(-2)).toEqual([0.25, null, 1]);
  });

  test("have no level if the reward before training is not known", () => {
    const later = new Series();
    later.add([{ step: 3, full_valid_mean_reward: 1 }]);
    expect(Array.from(valuesOf(later, { name: "level", label: "", noisy: false, levelOf: "full_valid_mean_reward" }))).toEqual([NaN]);
  });

  test("show how the prompts differ in one chart", () => {
    const names = [10, 50, 90].map((percent) => `full_valid_prompt_reward_p${percent}`);
    const spec = jobCharts(["train_mean_reward", ...names]).find(({ title }) => title === "Reward by prompt");
    expect(spec?.columns.map(({ name, noisy }) => [name, noisy])).toEqual(names.map((name) => [name, false]));
  });

  test("of a job that learns from a teacher have its distance, and no loss", () => {
    const specs = jobCharts(["train_loss", "train_mean_reverse_kl", "full_valid_mean_reverse_kl"]);
    expect(specs.map(({ title, best }) => [title, best])).toEqual([["Mean reverse KL, in nats", "smallest"]]);
    expect(specs[0]?.columns.at(-1)).toMatchObject({ label: "before training", levelOf: "full_valid_mean_reverse_kl" });
  });

  test("of other jobs have the loss", () => {
    expect(jobCharts(["train_loss"]).map(({ metric }) => metric)).toEqual(["loss"]);
  });
});

test("memory is written in gigabytes, and other metrics with four digits", () => {
  const [loss, memory] = chartSpecs(["train_loss", "trainer_memory_bytes"]);
  expect([loss?.format(0.51234), memory?.format(4.2254e9), memory?.format(NaN)]).toEqual(["0.5123", "4.225 GB", "–"]);
});
