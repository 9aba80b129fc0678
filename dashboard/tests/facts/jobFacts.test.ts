import { describe, expect, test } from "vitest";

import type { Checkpoint } from "@/api/types";
import { bestCheckpoint, jobName } from "@/lib/facts/jobFacts";
import { phasesOf } from "@/lib/facts/phases";

import { aJob } from "../jobs/aJob";

test("a job's name is its suffix, or its model, or its id", () => {
  expect(jobName(aJob(1, { user_provided_suffix: "mine", fine_tuned_model: "ft:x" }))).toBe("mine");
  expect(jobName(aJob(1, { fine_tuned_model: "ft:x" }))).toBe("ft:x");
  expect(jobName(aJob(1))).toBe("ftjob-000001");
});

describe("the best checkpoint", () => {
  const at = (step_number: number, full_valid_loss: unknown) => ({ step_number, metrics: { full_valid_loss } }) as unknown as Checkpoint;

  test("has the smallest loss on the whole set, and is the earliest of equal ones", () => {
    expect(bestCheckpoint([at(30, 0.5), at(20, 0.4), at(10, 0.4)])?.step_number).toBe(10);
  });

  test("is undefined if no loss was measured or none is finite", () => {
    expect(bestCheckpoint([at(10, null), at(20, undefined)])).toBeUndefined();
  });
});

describe("the phases of a job", () => {
  const phases = (fields: Parameters<typeof aJob>[1]) => phasesOf(aJob(1, fields)).map(({ label, state }) => [label, state]);

  test("are ahead while it waits", () => {
    expect(phases({})).toEqual([["queued", "current"], ["training (waits for a worker)", "ahead"], ["finished", "ahead"]]);
  });

  test("show that training has not begun if it was paused in the queue", () => {
    expect(phases({ status: "paused" })[1]).toEqual(["training (paused before it began)", "ahead"]);
    expect(phases({ status: "paused", started_at: 2 })[1]).toEqual(["paused", "current"]);
  });

  test("show its phase while it runs", () => {
    const progress = { ...aJob(1).progress, phase: "validating" };
    expect(phases({ status: "running", started_at: 2, progress })[1]).toEqual(["validating", "current"]);
  });

  test("have no training if it was cancelled in the queue", () => {
    expect(phases({ status: "cancelled", finished_at: 3 })).toEqual([["queued", "done"], ["cancelled", "current"]]);
  });
});
