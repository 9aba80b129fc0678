import { describe, expect, test } from "vitest";

import { Series, type StepValues } from "@/lib/charts/series";
import { jobName, measureOf, validationChange } from "@/lib/facts/jobFacts";
import { phasesOf } from "@/lib/facts/phases";
import type { Checkpoint, JobEvent } from "@/types/api";

import { aJob } from "../jobs/aJob";

test("a job's name is its suffix, or its model, or its id", () => {
  expect(jobName(aJob(1, { user_provided_suffix: "mine", fine_tuned_model: "ft:x" }))).toBe("mine");
  expect(jobName(aJob(1, { fine_tuned_model: "ft:x" }))).toBe("ft:x");
  expect(jobName(aJob(1))).toBe("ftjob-000001");
});

test("checkpoints show what their validations measure, and the loss if they measure nothing", () => {
  const at = (metrics: object) => ({ metrics }) as unknown as Checkpoint;
  expect(measureOf([at({ full_valid_loss: 0.5 })]).title).toBe("Validation loss");
  expect(measureOf([at({ full_valid_loss: null, full_valid_mean_reward: 0.5 })]).title).toBe("Validation reward");
  expect(measureOf([at({})])).toEqual({ name: "full_valid_loss", title: "Validation loss" });
});

test("how far a job came is said by its rewards, or else by its losses", () => {
  const series = (...points: StepValues[]) => {
    const made = new Series();
    made.add(points);
    return made;
  };
  const rewarded = series({ step: 0, full_valid_mean_reward: 0.25 }, { step: 4, full_valid_mean_reward: 0.5, valid_loss: 1 }, { step: 8, valid_loss: 2 });
  expect(validationChange(rewarded)).toEqual({ title: "Validation reward", from: 0.25, to: 0.5 });
  expect(validationChange(series({ step: 1, valid_loss: 2 }, { step: 2, valid_loss: 1 }))).toEqual({ title: "Validation loss", from: 2, to: 1 });
  expect(validationChange(series({ step: 0, full_valid_mean_reward: 1 }))).toBeUndefined();
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

  describe("with a log", () => {
    const said = (created_at: number, code: string): JobEvent =>
      ({ id: `${created_at}`, created_at, type: "message", message: "", data: { code } }) as unknown as JobEvent;
    const step = { id: "s", created_at: 9, type: "metrics", message: "", data: { step: 1 } } as unknown as JobEvent;
    const running = aJob(1, { status: "running", started_at: 2, progress: { ...aJob(1).progress, phase: "reading data" } });

    test("show what is done before the first step, with its moment", () => {
      const [, start, training] = phasesOf(running, [said(2, "claimed"), said(6, "model_loaded")]);
      expect(start?.state).toBe("current");
      expect(start?.marks?.map(({ at }) => at)).toEqual([2, 6, null, null]);
      expect(start?.marks?.find(({ at }) => at === null)?.doing).toBe("reading the rows");
      expect(training?.state).toBe("ahead");
    });

    test("begin to train with the first step", () => {
      const [, start, training] = phasesOf(running, [said(2, "claimed"), said(6, "model_loaded"), said(7, "rows_read"), step]);
      expect([start?.state, start?.to, training?.from]).toEqual(["done", 9, 9]);
    });

    test("show a pause with the moment of the pause", () => {
      const paused = aJob(1, { status: "paused", started_at: 2 });
      const [, pause] = phasesOf(paused, [said(2, "claimed"), step, said(20, "paused")]);
      expect([pause?.label, pause?.from]).toEqual(["paused", 20]);
    });
  });

  test("have no training if it was cancelled in the queue", () => {
    expect(phases({ status: "cancelled", finished_at: 3 })).toEqual([["queued", "done"], ["cancelled", "current"]]);
  });
});
