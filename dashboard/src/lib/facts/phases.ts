import { hasEnded, type Job } from "@/api/types";

export interface Phase {
  label: string;
  state: "done" | "current" | "ahead";
  /** When it began, in unix seconds. */
  from: number | null;
  /** When it ended. */
  to: number | null;
}

/** Returns the phases of a job: those that are over, the present phase, and those ahead. */
export function phasesOf(job: Job): Phase[] {
  const { created_at, finished_at, status, progress } = job;
  const started = job.started_at ?? null;
  const ended = hasEnded(job);
  const waits = status === "queued";
  const queued: Phase = {
    label: "queued",
    state: waits && started === null ? "current" : "done",
    from: created_at,
    to: started ?? finished_at,
  };
  const running: Phase = {
    label: runningLabel(status, progress.phase, started !== null),
    state: ended ? "done" : started === null ? "ahead" : "current",
    from: started,
    to: finished_at,
  };
  const end: Phase = { label: ended ? status : "finished", state: ended ? "current" : "ahead", from: finished_at, to: null };
  return ended && started === null ? [queued, end] : [queued, running, end];
}

function runningLabel(status: string, phase: string, begun: boolean): string {
  if (status === "running") return phase;
  if (status === "paused") return begun ? "paused" : "training (paused before it began)";
  return status === "queued" ? "training (waits for a worker)" : "training";
}
