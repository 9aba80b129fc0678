import { describe, expect, test } from "vitest";

import { csv } from "@/lib/text/csv";
import { flatten } from "@/lib/text/flatten";
import * as format from "@/lib/text/format";

describe("numbers", () => {
  test.each([
    [0, "0"],
    [0.0002, "2.00e-4"],
    [0.123456, "0.1235"],
    [17.04176, "17.04"],
    [12345.6, "12,346"],
    [2.5e7, "2.50e7"],
    [NaN, "–"],
    [null, "–"],
  ])("%s is written %s", (value, text) => expect(format.significant(value)).toBe(text));

  test.each([
    [0.002052, "0.0021"],
    [0.5, "0.5"],
    [12.3, "12"],
    [0.0000123, "1.2e-5"],
  ])("a difference of %s is written %s", (value, text) => expect(format.roughly(value)).toBe(text));

  test.each([
    [0, "0 B"],
    [999, "999 B"],
    [3400, "3.4 KB"],
    [34_000, "34 KB"],
    [2_100_000_000, "2.1 GB"],
  ])("%d bytes are %s", (value, text) => expect(format.bytes(value)).toBe(text));

  test.each([
    [42.4, "42 s"],
    [61, "1 min"],
    [3 * 3600 + 5 * 60, "3 h 05 min"],
    [52 * 3600, "2 d 4 h"],
    [-5, "0 s"],
  ])("%d seconds are %s", (value, text) => expect(format.duration(value)).toBe(text));
});

test.each([
  [85.4, "85 ms"],
  [18_501, "18.5 s"],
])("%s ms are %s", (value, text) => expect(format.milliseconds(value)).toBe(text));

test("a duration just below an hour is not written as sixty minutes", () => {
  expect(format.duration(3599)).toBe("59 min");
});

test("a count has its noun in the plural unless it is one", () => {
  expect([0, 1, 1200].map((count) => format.counted(count, "job"))).toEqual(["0 jobs", "1 job", "1,200 jobs"]);
});

test("a CSV quotes special characters and holds no formula", () => {
  const text = csv(["step", "name"], [[1, 'a "b", c'], [2, "=1+1"], [NaN, null as unknown as string]]);
  expect(text).toBe('step,name\r\n1,"a ""b"", c"\r\n2,\'=1+1\r\n,\r\n');
});

test("nested settings are listed leaf by leaf", () => {
  expect(flatten({ adapter: { r: 8, rank_pattern: {}, target_modules: ["q", "v"] }, seed: 1, name: "x" })).toEqual([
    ["adapter.r", "8"],
    ["adapter.rank_pattern", "{}"],
    ["adapter.target_modules", '["q","v"]'],
    ["seed", "1"],
    ["name", "x"],
  ]);
});

test("a setting that was computed is listed with six digits", () => {
  expect(flatten({ alpha: 28.920406943873356, rates: [0.1 + 0.2] })).toEqual([
    ["alpha", "28.9204"],
    ["rates", "[0.3]"],
  ]);
});

test.each([
  [59, "just now"],
  [3599, "59 min ago"],
  [86_399, "23 h ago"],
  [27.8 * 86_400, "27 d ago"],
])("%d seconds ago is %s", (past, text) => expect(format.ago(1000, 1000 + past)).toBe(text));
