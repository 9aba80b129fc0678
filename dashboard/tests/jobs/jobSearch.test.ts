import { expect, test } from "vitest";

import { parseCurveSearch } from "@/lib/addresses/curveSearch";
import { arranged, needsAll, parseJobSearch, wantedBy, wordsOf } from "@/lib/addresses/jobSearch";
import type { Job } from "@/types/api";

import { aJob } from "./aJob";

const jobs = [
  aJob(3, { user_provided_suffix: "beta", status: "failed" }),
  aJob(2, { user_provided_suffix: "alpha" }),
  aJob(1, { fine_tuned_model: "ft:smollm2:default:gamma" }),
];
const find = (raw: Record<string, unknown>) =>
  arranged(jobs, parseJobSearch(raw)).map(({ created_at }) => created_at - 1_795_000_000);

test("unknown values in an address are left out", () => {
  expect(parseJobSearch({ q: ["x"], status: "gone", sort: "__proto__", reversed: "yes", other: 1 })).toEqual({});
  expect(parseCurveSearch({ x: "money", log: "1", smooth: "NaN" })).toEqual({});
  expect(parseCurveSearch({ smooth: 100 })).toEqual({});
});

test("known values in an address are kept", () => {
  const search = { q: "7", status: "failed", sort: "name", reversed: true };
  expect(parseJobSearch(search)).toEqual(search);
  expect(parseCurveSearch({ x: "epoch", log: true, smooth: 0 })).toEqual({ x: "epoch", log: true, smooth: 0 });
});

test("only an order needs more than the newest jobs that the API finds", () => {
  expect(needsAll(parseJobSearch({ q: "alpha", status: "failed", sort: "created" }))).toBe(false);
  expect(wantedBy(parseJobSearch({ q: " alpha", status: "failed" }))).toEqual({ words: "alpha", status: "failed" });
  expect(needsAll(parseJobSearch({ sort: "best" }))).toBe(true);
  expect(needsAll(parseJobSearch({ reversed: true }))).toBe(true);
});

test("the same words are the same search, with no more characters than the API accepts", () => {
  expect(wordsOf({ q: "  alpha \t beta " })).toBe("alpha beta");
  expect(wordsOf({})).toBe("");
  expect(wordsOf({ q: "x".repeat(300) })).toHaveLength(200);
});

test("a job whose status has changed since it was read is left out", () => {
  expect(find({ status: "failed" })).toEqual([3]);
});

test("jobs are sorted by the shown values, in both directions", () => {
  expect(find({})).toEqual([3, 2, 1]);
  expect(find({ sort: "name" })).toEqual([2, 3, 1]);
  expect(find({ sort: "name", reversed: true })).toEqual([1, 3, 2]);
  expect(find({ reversed: true })).toEqual([1, 2, 3]);
});

test("the lowest loss comes first or last, and jobs without a loss come at the end in both directions", () => {
  const [pending, worse, better] = jobs as [Job, Job, Job];
  const withLoss = (job: Job, best_valid_loss: number) => ({ ...job, progress: { ...job.progress, best_valid_loss } });
  const measured = [pending, withLoss(worse, 2), withLoss(better, -1)];
  const order = (raw: Record<string, unknown>) => arranged(measured, parseJobSearch(raw)).map(({ id }) => id);
  expect(order({ sort: "best" })).toEqual([better.id, worse.id, pending.id]);
  expect(order({ sort: "best", reversed: true })).toEqual([worse.id, better.id, pending.id]);
});
