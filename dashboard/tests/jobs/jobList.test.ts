import { describe, expect, test } from "vitest";

import { EMPTY, merge, stalePages, without } from "@/lib/jobs/jobList";

import { aJob, jobsFrom } from "./aJob";

const ids = (jobs: readonly { id: string }[]) => jobs.map(({ id }) => id);

describe("a page", () => {
  const known = merge(EMPTY, { after: null, jobs: jobsFrom(20, 11), hasMore: true });

  test("that follows the known jobs is added to their end", () => {
    const list = merge(known, { after: aJob(11).id, jobs: jobsFrom(10, 1), hasMore: false });
    expect(ids(list.jobs)).toEqual(ids(jobsFrom(20, 1)));
    expect(list.complete).toBe(true);
  });

  test("of the newest puts new jobs before the known ones, each once", () => {
    const list = merge(known, { after: null, jobs: jobsFrom(23, 14), hasMore: true });
    expect(ids(list.jobs)).toEqual(ids(jobsFrom(23, 11)));
  });

  test("takes away what was deleted in its range, and nothing else", () => {
    const page = jobsFrom(20, 15).filter(({ id }) => id !== aJob(17).id);
    const list = merge(known, { after: null, jobs: page, hasMore: true });
    expect(ids(list.jobs)).toEqual(ids(jobsFrom(20, 11)).filter((id) => id !== aJob(17).id));
  });

  test("that is the last one takes away all behind it", () => {
    const list = merge(known, { after: aJob(18).id, jobs: jobsFrom(17, 16), hasMore: false });
    expect(ids(list.jobs)).toEqual(ids(jobsFrom(20, 16)));
  });

  test("that has changed nothing leaves the very same list", () => {
    expect(merge(known, { after: null, jobs: jobsFrom(20, 11), hasMore: true })).toBe(known);
  });

  test("keeps the objects of jobs that have not changed", () => {
    const page = jobsFrom(20, 11);
    page[3] = aJob(17, { status: "running" });
    const list = merge(known, { after: null, jobs: page, hasMore: true });
    expect(list.jobs[2]).toBe(known.jobs[2]);
    expect(list.jobs[3]?.status).toBe("running");
  });

  test("beyond a gap begins the list anew", () => {
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

  test("for the first page and those with a running or a visible job", () => {
    const visible = new Set([aJob(25).id]);
    expect(stalePages(list, visible, 10, 8)).toEqual([null, aJob(31).id, aJob(11).id]);
  });

  test("for so many pages at most", () => {
    expect(stalePages(list, new Set(ids(jobs)), 10, 2)).toEqual([null, aJob(31).id]);
  });
});

test("a job that was deleted is taken out, and the others stay the same objects", () => {
  const known = merge(EMPTY, { after: null, jobs: jobsFrom(3, 1), hasMore: false });
  const left = without(known, aJob(2).id);
  expect(ids(left.jobs)).toEqual([aJob(3).id, aJob(1).id]);
  expect(left.jobs[0]).toBe(known.jobs[0]);
  expect(left.complete).toBe(true);
});
