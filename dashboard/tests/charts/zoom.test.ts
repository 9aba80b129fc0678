import { describe, expect, test } from "vitest";

import type { Steps } from "@/lib/charts/axes";
import { Series } from "@/lib/charts/series";
import { moved, stepsInside, wholeOf } from "@/lib/charts/zoom";

function training(steps: number[], stepsPerEpoch: number | null = null): Steps {
  const series = new Series();
  series.add(steps.map((step) => ({ step, ...(step > 1 && { trained_tokens: step * 10 }) })));
  return { series, stepsPerEpoch };
}

describe("the whole", () => {
  test("goes from the first x of any training to the last", () => {
    expect(wholeOf([training([1, 2, 8], 2), training([3, 4], 1)], "step")).toEqual([1, 8]);
    expect(wholeOf([training([1, 2, 8], 2), training([3, 5], 1)], "epoch")).toEqual([0.5, 5]);
  });

  test("begins at the first step with an x", () => {
    expect(wholeOf([training([1, 2, 8])], "tokens")).toEqual([20, 80]);
  });

  test("is null for no step and for one step", () => {
    expect(wholeOf([], "step")).toBeNull();
    expect(wholeOf([training([]), training([1])], "step")).toBeNull();
  });
});

describe("a move", () => {
  const whole = [0, 1000] as const;

  test("in halves the part around its middle, and out doubles it up to the whole", () => {
    expect(moved(null, whole, "step", "in")).toEqual([250, 750]);
    expect(moved([250, 750], whole, "step", "in")).toEqual([375, 625]);
    expect(moved([375, 625], whole, "step", "out")).toEqual([250, 750]);
    expect(moved([250, 750], whole, "step", "out")).toBeNull();
  });

  test("back and on go by half of the part, and not beyond the ends", () => {
    expect(moved([400, 600], whole, "step", "back")).toEqual([300, 500]);
    expect(moved([400, 600], whole, "step", "on")).toEqual([500, 700]);
    expect(moved([50, 250], whole, "step", "back")).toEqual([0, 200]);
    expect(moved([790, 990], whole, "step", "on")).toEqual([800, 1000]);
    expect(moved(null, whole, "step", "on")).toBeNull();
  });

  test("out at an end stays within the ends", () => {
    expect(moved([900, 1000], whole, "step", "out")).toEqual([800, 1000]);
  });

  test("in stops while a line can still be drawn", () => {
    expect(moved([10, 12], whole, "step", "in")).toEqual([10, 12]);
    expect(moved([10, 11], whole, "step", "in")).toEqual([10, 11]);
    expect(moved([10, 12], whole, "time", "in")).toEqual([10.5, 11.5]);
  });
});

test("the steps inside a part are those of all trainings, with the ends of the part", () => {
  expect(stepsInside([training([1, 2, 3, 4, 5])], "step", [2, 4])).toEqual([2, 4]);
  expect(stepsInside([training([1, 2, 3, 4, 5])], "step", [1.5, 3.9])).toEqual([2, 3]);
  expect(stepsInside([training([2, 4, 6], 2), training([1, 2, 3], 1)], "epoch", [2, 3])).toEqual([2, 6]);
  expect(stepsInside([training([1, 9])], "step", [2, 8])).toBeNull();
});
