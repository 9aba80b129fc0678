import { describe, expect, test } from "vitest";

import { EMPTY, merge, stalePages, without } from "@/lib/jobs/jobList";

import { aJob, jobsFrom } from "./aJob";

const ids = (jobs: readonly { id: string }[]) => jobs.map(({ id }) => id);

describe("a page", () => {
  const known = merge(EMPTY, { after: null, jobs: jobsFrom(20, 11), hasMore: true });

  test("of older jobs is added at the end", () => {
    const list = merge(known, { after: aJob(11).id, jobs: jobsFrom(10, 1), hasMore: false });
    expect(ids(list.jobs)).toEqual(ids(jobsFrom(20, 1)));
    expect(list.complete).toBe(true);
  });

  test("of the newest jobs puts new jobs before the known jobs, each once", () => {
    const list = merge(known, { after: null, jobs: jobsFrom(23, 14), hasMore: true });
    expect(ids(list.jobs)).toEqual(ids(jobsFrom(23, 11)));
  });

  test("removes the jobs that were deleted in its range, and no others", () => {
    const page = jobsFrom(20, 15).filter(({ id }) => id !== aJob(17).id);
    const list = merge(known, { after: null, jobs: page, hasMore: true });
    expect(ids(list.jobs)).toEqual(ids(jobsFrom(20, 11)).filter((id) => id !== aJob(17).id));
  });

  test("removes all jobs after it if it is the last page", () => {
    const list = merge(known, { after: aJob(18).id, jobs: jobsFrom(17, 16), hasMore: false });
    expect(ids(list.jobs)).toEqual(ids(jobsFrom(20, 16)));
  });

  test("without a change returns the same list object", () => {
    expect(merge(known, { after: null, jobs: jobsFrom(20, 11), hasMore: true })).toBe(known);
  });

  test("keeps the objects of jobs that have not changed", () => {
    const page = jobsFrom(20, 11);
    page[3] = aJob(17, { status: "running" });
    const list = merge(known, { after: null, jobs: page, hasMore: true });
    expect(list.jobs[2]).toBe(known.jobs[2]);
    expect(list.jobs[3]?.status).toBe("running");
  });

  test("with a gap before the known jobs starts a new list", () => {
    const list = merge(known, { after: null, jobs: jobsFrom(50, 41), hasMore: true });
    expect(ids(list.jobs)).toEqual(ids(jobsFrom(50, 41)));
    expect(list.complete).toBe(false);
  });

  test("without a job empties the list", () => {
    expect(merge(known, { after: null, jobs: [], hasMore: false })).toEqual({ jobs: [], complete: true });
  });
});

describe("a poll asks", () => {
  const jobs = jobsFrom(40, 1);
  jobs[35] = aJob(5, { status: "running" });
  const list = { jobs, complete: true };

  test("for the first page and for pages with a running or a visible job", () => {
    const visible = new Set([aJob(25).id]);
    expect(stalePages(list, visible, 10, 8)).toEqual([null, aJob(31).id, aJob(11).id]);
  });

  test("for a limited number of pages", () => {
    expect(stalePages(list, new Set(ids(jobs)), 10, 2)).toEqual([null, aJob(31).id]);
  });
});

test("a deleted job is removed, and the other jobs stay the same objects", () => {
  const known = merge(EMPTY, { after: null, jobs: jobsFrom(3, 1), hasMore: false });
  const left = without(known, aJob(2).id);
  expect(ids(left.jobs)).toEqual([aJob(3).id, aJob(1).id]);
  expect(left.jobs[0]).toBe(known.jobs[0]);
  expect(left.complete).toBe(true);
});
