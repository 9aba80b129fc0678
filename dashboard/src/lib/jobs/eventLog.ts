/** A job's log as far as it has been read, oldest first. */

import type { JobEvent } from "@/api/types";

export interface EventLog {
  readonly events: readonly JobEvent[];
  /** Whether there are events before the first of these. */
  readonly hasOlder: boolean;
}

/** So many are kept of a log that is followed for days; what was before them can be read again. */
export const MOST_EVENTS = 20_000;

export const NO_EVENTS: EventLog = { events: [], hasOlder: false };

/** Without the values of a step, which stand in the series. */
function asLine(event: JobEvent): JobEvent {
  return event.type === "metrics" ? { ...event, data: null } : event;
}

/** The newest page (newest first) after a start or a gap. Where it does not reach what is known, that is dropped. */
export function withNewest(log: EventLog, page: readonly JobEvent[], hasOlder: boolean): EventLog {
  const newest = page.toReversed().map(asLine);
  const last = log.events.at(-1)?.id;
  const overlap = newest.findIndex((event) => event.id === last);
  if (overlap < 0) return { events: newest, hasOlder };
  return { ...log, events: [...log.events, ...newest.slice(overlap + 1)] };
}

/** What was pushed, oldest first. */
export function withPushed(log: EventLog, pushed: readonly JobEvent[]): EventLog {
  const known = new Set(log.events.slice(-pushed.length).map((event) => event.id));
  const events = [...log.events, ...pushed.filter((event) => !known.has(event.id)).map(asLine)];
  if (events.length <= MOST_EVENTS) return { ...log, events };
  return { events: events.slice(-MOST_EVENTS), hasOlder: true };
}

/** A page (newest first) of what was before. */
export function withOlder(log: EventLog, page: readonly JobEvent[], hasOlder: boolean): EventLog {
  return { events: [...page.toReversed().map(asLine), ...log.events], hasOlder };
}

export type EventKind = "all" | "messages" | "problems";

export function matching(events: readonly JobEvent[], kind: EventKind, words: string): readonly JobEvent[] {
  const wanted = words.trim().toLowerCase();
  if (kind === "all" && !wanted) return events;
  return events.filter((event) => {
    if (kind === "messages" && event.type === "metrics") return false;
    if (kind === "problems" && event.level === "info") return false;
    return !wanted || event.message.toLowerCase().includes(wanted);
  });
}
