import type { JobEvent } from "@/types/api";

/** A job's log as far as it has been read, oldest event first. */
export interface EventLog {
  readonly events: readonly JobEvent[];
  /** Whether the service has events before the first of these. */
  readonly hasOlder: boolean;
}

/** The most events that are kept of a log that is followed for days. Older events can be read again. */
export const MOST_EVENTS = 20_000;

export const NO_EVENTS: EventLog = { events: [], hasOlder: false };

/** Returns an event without the values of a step, which are kept in the series. */
function asLine(event: JobEvent): JobEvent {
  return event.type === "metrics" ? { ...event, data: null } : event;
}

/**
 * Returns the log with the newest page of events (newest first), which is read at the start and after a gap. If the page
 * does not reach the known events, it replaces them.
 */
export function withNewest(log: EventLog, page: readonly JobEvent[], hasOlder: boolean): EventLog {
  const newest = page.toReversed().map(asLine);
  const last = log.events.at(-1)?.id;
  const overlap = newest.findIndex((event) => event.id === last);
  if (overlap < 0) return { events: newest, hasOlder };
  return { ...log, events: [...log.events, ...newest.slice(overlap + 1)] };
}

/** Returns the log with pushed events, oldest first. */
export function withPushed(log: EventLog, pushed: readonly JobEvent[]): EventLog {
  const known = new Set(log.events.slice(-pushed.length).map((event) => event.id));
  const events = [...log.events, ...pushed.filter((event) => !known.has(event.id)).map(asLine)];
  if (events.length <= MOST_EVENTS) return { ...log, events };
  return { events: events.slice(-MOST_EVENTS), hasOlder: true };
}

/** Returns the log with a page of older events (newest first). */
export function withOlder(log: EventLog, page: readonly JobEvent[], hasOlder: boolean): EventLog {
  return { events: [...page.toReversed().map(asLine), ...log.events], hasOlder };
}

export type EventKind = "all" | "messages" | "problems";

/** Returns the events of a kind whose message contains the words. */
export function matching(events: readonly JobEvent[], kind: EventKind, words: string): readonly JobEvent[] {
  const wanted = words.trim().toLowerCase();
  if (kind === "all" && !wanted) return events;
  return events.filter((event) => {
    if (kind === "messages" && event.type === "metrics") return false;
    if (kind === "problems" && event.level === "info") return false;
    return !wanted || event.message.toLowerCase().includes(wanted);
  });
}
