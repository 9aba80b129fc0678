import type { Job, JobEvent } from "@/types/api";

import { hasEnded } from "./jobFacts";

export interface Phase {
  label: string;
  state: "done" | "current" | "ahead";
  /** When it began, in unix seconds. */
  from: number | null;
  /** When it ended. */
  to: number | null;
  /** What happens in it, each with the moment when it was done; null if it is not done yet. */
  marks?: readonly Mark[];
}

interface Mark {
  label: string;
  /** What is said while it is under way. */
  doing: string;
  at: number | null;
}

/** Returns the phases of a job: those that are over, the present phase, and those ahead. */
export function phasesOf(job: Job, events: readonly JobEvent[] = []): Phase[] {
  const { created_at, finished_at, status } = job;
  const started = job.started_at ?? null;
  const ended = hasEnded(job);
  const isWaiting = status === "queued" && started === null;
  const queued: Phase = { label: "queued", state: isWaiting ? "current" : "done", from: created_at, to: started ?? finished_at };
  const end: Phase = { label: ended ? status : "finished", state: ended ? "current" : "ahead", from: finished_at, to: null };
  if (ended && started === null) return [queued, end];
  const start = startOf(job, events);
  if (!start) return [queued, trainingOf(job, events, started), end];
  const firstStep = start.marks?.at(-1)?.at ?? null;
  return [queued, start, trainingOf(job, events, firstStep), end];
}

/** Returns what happens before the first step; undefined if the log does not go back so far. */
function startOf({ status, started_at, finished_at, progress }: Job, events: readonly JobEvent[]): Phase | undefined {
  const claimed = events.findLastIndex((event) => codeOf(event) === "claimed");
  if (claimed < 0 || (status !== "running" && finished_at === null)) return undefined;
  const after = events.slice(claimed);
  const at = (is: (event: JobEvent) => boolean) => after.find(is)?.created_at ?? null;
  const firstStep = at(({ type }) => type === "metrics");
  const marks = [
    { label: "claimed by a worker", doing: "claimed by a worker", at: at(() => true) },
    { label: "model loaded", doing: loadingOf(progress.phase), at: at((event) => codeOf(event) === "model_loaded") },
    { label: "rows read", doing: "reading the rows", at: at((event) => codeOf(event) === "rows_read") },
    { label: "first step", doing: "making the first step", at: firstStep },
  ];
  const isOver = firstStep !== null || finished_at !== null;
  return { label: "starting", state: isOver ? "done" : "current", from: started_at ?? null, to: firstStep ?? finished_at, marks };
}

/** Returns how far the model's load is, if it takes so long that the phase says it. */
const loadingOf = (phase: string): string => (phase.startsWith("loading") ? phase : "loading the model");

function trainingOf(job: Job, events: readonly JobEvent[], from: number | null): Phase {
  const { status, progress, finished_at } = job;
  const isPaused = status === "paused" && job.started_at != null;
  const pausedAt = events.findLast((event) => codeOf(event) === "paused")?.created_at;
  const state = hasEnded(job) ? "done" : from === null ? "ahead" : "current";
  return {
    label: runningLabel(status, from === null ? "training" : progress.phase, job.started_at != null),
    state: isPaused ? "current" : state,
    from: isPaused ? (pausedAt ?? from) : from,
    to: finished_at,
  };
}

const codeOf = ({ data }: JobEvent): unknown => data?.code;

function runningLabel(status: string, phase: string, begun: boolean): string {
  if (status === "running") return phase;
  if (status === "paused") return begun ? "paused" : "training (paused before it began)";
  return status === "queued" ? "training (waits for a worker)" : "training";
}
