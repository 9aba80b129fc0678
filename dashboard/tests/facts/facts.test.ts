import { describe, expect, test } from "vitest";

import type { Checkpoint } from "@/api/types";
import { bestCheckpoint, jobName } from "@/lib/facts/jobFacts";
import { phasesOf } from "@/lib/facts/phases";
import { csv } from "@/lib/text/csv";
import { flatten } from "@/lib/text/flatten";
import * as format from "@/lib/text/format";

import { aJob } from "../jobs/aJob";

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
  ])("a difference of %s is told as %s", (value, text) => expect(format.roughly(value)).toBe(text));

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

test("a duration just below an hour is no sixty minutes", () => {
  expect(format.duration(3599)).toBe("59 min");
});

test("a CSV quotes what it must, and holds no formula", () => {
  const text = csv(["step", "name"], [[1, 'a "b", c'], [2, "=1+1"], [NaN, null as unknown as string]]);
  expect(text).toBe('step,name\r\n1,"a ""b"", c"\r\n2,\'=1+1\r\n,\r\n');
});

test("settings are told leaf by leaf", () => {
  expect(flatten({ adapter: { r: 8, rank_pattern: {}, target_modules: ["q", "v"] }, seed: 1, name: "x" })).toEqual([
    ["adapter.r", "8"],
    ["adapter.rank_pattern", "{}"],
    ["adapter.target_modules", '["q","v"]'],
    ["seed", "1"],
    ["name", "x"],
  ]);
});

test("a job is called by its suffix, else by its model, else by its id", () => {
  expect(jobName(aJob(1, { user_provided_suffix: "mine", fine_tuned_model: "ft:x" }))).toBe("mine");
  expect(jobName(aJob(1, { fine_tuned_model: "ft:x" }))).toBe("ft:x");
  expect(jobName(aJob(1))).toBe("ftjob-000001");
});

describe("the best checkpoint", () => {
  const at = (step_number: number, full_valid_loss: unknown) => ({ step_number, metrics: { full_valid_loss } }) as unknown as Checkpoint;

  test("has the smallest loss on the whole set; of equals it is the earlier one", () => {
    expect(bestCheckpoint([at(30, 0.5), at(20, 0.4), at(10, 0.4)])?.step_number).toBe(10);
  });

  test("is none where no loss was measured or none is finite", () => {
    expect(bestCheckpoint([at(10, null), at(20, undefined)])).toBeUndefined();
  });
});

describe("the phases", () => {
  const told = (fields: Parameters<typeof aJob>[1]) => phasesOf(aJob(1, fields)).map(({ label, state }) => [label, state]);

  test("of a waiting job are before it", () => {
    expect(told({})).toEqual([["queued", "current"], ["training (waits for a worker)", "ahead"], ["finished", "ahead"]]);
  });

  test("of one that was paused while it waited have a training that has not begun", () => {
    expect(told({ status: "paused" })[1]).toEqual(["training (paused before it began)", "ahead"]);
    expect(told({ status: "paused", started_at: 2 })[1]).toEqual(["paused", "current"]);
  });

  test("of a running one have its phase", () => {
    const progress = { ...aJob(1).progress, phase: "validating" };
    expect(told({ status: "running", started_at: 2, progress })[1]).toEqual(["validating", "current"]);
  });

  test("of one that was cancelled while it waited have no training", () => {
    expect(told({ status: "cancelled", finished_at: 3 })).toEqual([["queued", "done"], ["cancelled", "current"]]);
  });
});

test.each([
  [59, "just now"],
  [3599, "59 min ago"],
  [86_399, "23 h ago"],
  [27.8 * 86_400, "27 d ago"],
])("%d seconds ago is %s", (past, text) => expect(format.ago(1000, 1000 + past)).toBe(text));
