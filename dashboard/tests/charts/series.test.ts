import { expect, test } from "vitest";

import { indexOfBest, indexOfLast, Series } from "@/lib/charts/series";

const list = (values: Float64Array | undefined) => Array.from(values ?? []);

test("a value that a step does not have is NaN", () => {
  const series = new Series();
  series.add([{ step: 1, train_loss: 2 }, { step: 2, train_loss: 1, valid_loss: 3 }, { step: 3, train_loss: null }]);
  expect(list(series.steps)).toEqual([1, 2, 3]);
  expect(list(series.column("train_loss"))).toEqual([2, 1, NaN]);
  expect(list(series.column("valid_loss"))).toEqual([NaN, 3, NaN]);
});

test("a step that is computed again replaces the old values", () => {
  const series = new Series();
  series.add([1, 2, 3].map((step) => ({ step, train_loss: step, valid_loss: step })));
  series.add([{ step: 2, train_loss: 20 }]);
  expect(list(series.steps)).toEqual([1, 2, 3]);
  expect(list(series.column("train_loss"))).toEqual([1, 20, 3]);
  expect(list(series.column("valid_loss"))).toEqual([1, NaN, 3]);
});

test("a step that comes late is put into its place", () => {
  const series = new Series();
  series.add([{ step: 1, loss: 1 }, { step: 4, loss: 4 }]);
  series.add([{ step: 2, loss: 2 }, { step: 0, loss: 0 }]);
  expect(list(series.steps)).toEqual([0, 1, 2, 4]);
  expect(list(series.column("loss"))).toEqual([0, 1, 2, 4]);
});

test("it keeps all values as it grows", () => {
  const series = new Series();
  const steps = Array.from({ length: 5000 }, (_, step) => step);
  series.add(steps.map((step) => ({ step, loss: 2 * step })));
  expect(list(series.steps)).toEqual(steps);
  expect(list(series.column("loss"))).toEqual(steps.map((step) => 2 * step));
});

test("many steps that come late are put into their places", () => {
  const series = new Series();
  const even = Array.from({ length: 3000 }, (_, at) => 2 * at);
  series.add(even.map((step) => ({ step, loss: step })));
  series.add(even.map((step) => ({ step: step + 1, loss: step + 1, valid_loss: 1 })));
  expect(list(series.steps)).toEqual(Array.from({ length: 6000 }, (_, step) => step));
  expect(list(series.column("loss"))).toEqual(list(series.steps));
  expect(list(series.column("valid_loss")).slice(0, 4)).toEqual([NaN, 1, NaN, 1]);
});

test("a series that becomes whole keeps the steps that came meanwhile", () => {
  const [thinned, whole] = [new Series(), new Series()];
  thinned.leftOut = { readPart: async () => undefined, readAll: async () => undefined };
  thinned.add([{ step: 1, loss: 1 }, { step: 3, loss: 3 }, { step: 4, loss: 4, valid_loss: 9 }]);
  whole.add([1, 2, 3].map((step) => ({ step, loss: step })));
  const { version } = thinned;
  thinned.become(whole);
  expect(list(thinned.steps)).toEqual([1, 2, 3, 4]);
  expect(list(thinned.column("loss"))).toEqual([1, 2, 3, 4]);
  expect(list(thinned.column("valid_loss"))).toEqual([NaN, NaN, NaN, 9]);
  expect(thinned.leftOut).toBeNull();
  expect(thinned.version).toBeGreaterThan(version);
  thinned.add([{ step: 5, loss: 5 }]);
  expect(thinned.lastStep).toBe(5);
});

test("the version changes with each change and with nothing else", () => {
  const series = new Series();
  series.add([]);
  expect(series.version).toBe(0);
  series.add([{ step: 1, loss: 1 }]);
  expect(series.version).toBe(1);
});

test("the best value is the first of equal ones, and never NaN", () => {
  const values = Float64Array.of(NaN, 3, 1, NaN, 1, 3);
  expect(indexOfBest(values, "smallest")).toBe(2);
  expect(indexOfBest(values, "largest")).toBe(1);
  expect(indexOfBest(Float64Array.of(NaN), "smallest")).toBe(-1);
});

test("the last value is the last one that is not NaN", () => {
  expect(indexOfLast(Float64Array.of(1, 2, NaN))).toBe(1);
  expect(indexOfLast(Float64Array.of(NaN))).toBe(-1);
});
