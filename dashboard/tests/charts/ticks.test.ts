import { expect, test } from "vitest";

import { ticksOf } from "@/lib/charts/axes";
import { chartSpecs } from "@/lib/charts/chartSpecs";
import { tickTexts } from "@/lib/charts/ticks";

test.each([
  [[0, 0.5, 1], ["0", "0.5", "1"]],
  [[2.00005, 2.0001, 2.00015], ["2.00005", "2.0001", "2.00015"]],
  [[1.0, 1.025, 1.05], ["1", "1.025", "1.05"]],
  [[0, 0.00002, 0.00004], ["0", "2e-5", "4e-5"]],
  [[10_000, 10_001], ["10,000", "10,001"]],
  [[3], ["3"]],
  [[null, 10, null, 100], ["", "10", "", "100"]],
])("the ticks %j are written %j", (ticks, texts) => expect(tickTexts(ticks)).toEqual(texts));

test("ticks of memory that lie close together are told apart", () => {
  const [memory] = chartSpecs(["trainer_memory_bytes"]);
  expect(memory?.ticks([2.0005e9, 2.001e9])).toEqual(["2.0005 GB", "2.001 GB"]);
});

test("ticks of steps are whole numbers, also where few steps have been made", () => {
  expect(ticksOf("step").incrs?.every(Number.isInteger)).toBe(true);
  expect(ticksOf("step").values(null, [1, 1200])).toEqual(["1", "1,200"]);
});

test("what is known exactly is never smoothed", () => {
  const columns = chartSpecs(["train_loss", "learning_rate", "trainer_memory_bytes"]).flatMap(({ columns }) => columns);
  expect(columns.filter(({ noisy }) => noisy).map(({ name }) => name)).toEqual(["train_loss"]);
});
