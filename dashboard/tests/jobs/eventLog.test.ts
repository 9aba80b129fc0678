import { describe, expect, test } from "vitest";

import { eventReader } from "@/api/live/eventStream";
import type { JobEvent } from "@/types/api";
import {
  type EventLog,
  matching,
  MOST_EVENTS,
  NO_EVENTS,
  withNewest,
  withOlder,
  withPushed,
} from "@/lib/jobs/eventLog";

function anEvent(number: number, fields: Partial<JobEvent> = {}): JobEvent {
  const id = `ftevent-${number}`;
  return { id, object: "fine_tuning.job.event", created_at: number, level: "info", message: id, type: "message", data: null, ...fields };
}
const events = (first: number, last: number) =>
  Array.from({ length: last - first + 1 }, (_, at) => anEvent(first + at));
const page = (first: number, last: number) => events(first, last).toReversed();
const numbers = (log: EventLog) => log.events.map(({ created_at }) => created_at);

describe("the newest events", () => {
  const log = withNewest(NO_EVENTS, page(5, 9), true);

  test("stand in the order in which they happened", () => {
    expect(numbers(log)).toEqual([5, 6, 7, 8, 9]);
    expect(log.hasOlder).toBe(true);
  });

  test("continue where the log ended", () => {
    expect(numbers(withNewest(log, page(8, 12), true))).toEqual([5, 6, 7, 8, 9, 10, 11, 12]);
  });

  test("hold no values of steps, which would fill the memory while a job is followed", () => {
    const step = [anEvent(13, { type: "metrics", data: { step: 13 } }), anEvent(14, { data: { code: "x" } })];
    expect(withPushed(log, step).events.slice(-2).map(({ data }) => data)).toEqual([null, { code: "x" }]);
  });

  test("replace a log to which they do not connect", () => {
    expect(numbers(withNewest(log, page(20, 22), true))).toEqual([20, 21, 22]);
  });

  test("are followed by the pushed events, each once", () => {
    expect(numbers(withPushed(log, events(9, 11)))).toEqual([5, 6, 7, 8, 9, 10, 11]);
  });

  test("are preceded by the page before", () => {
    const older = withOlder(log, page(1, 4), false);
    expect(numbers(older)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(older.hasOlder).toBe(false);
  });
});

test("a log that is followed for long keeps its newest events and says that there are older ones", () => {
  const log = withPushed({ events: events(1, MOST_EVENTS), hasOlder: false }, events(MOST_EVENTS + 1, MOST_EVENTS + 5));
  expect(log.events).toHaveLength(MOST_EVENTS);
  expect(log.events.at(-1)?.created_at).toBe(MOST_EVENTS + 5);
  expect(log.hasOlder).toBe(true);
});

test("a filter keeps the events that it names", () => {
  const all = [anEvent(1, { type: "metrics" }), anEvent(2), anEvent(3, { level: "warn", message: "Disk is full" })];
  expect(matching(all, "all", "")).toBe(all);
  expect(matching(all, "messages", "").map(({ created_at }) => created_at)).toEqual([2, 3]);
  expect(matching(all, "problems", "").map(({ created_at }) => created_at)).toEqual([3]);
  expect(matching(all, "all", " disk ").map(({ created_at }) => created_at)).toEqual([3]);
});

describe("a stream", () => {
  const text = ': ping\n\nretry: 2000\n\nid: a\ndata: {"x":\ndata: 1}\n\nid: b\r\ndata: 2\r\n\r\n';

  test("gives the same events in pieces of any size", () => {
    for (let size = 1; size <= text.length; size += 1) {
      const eventsIn = eventReader();
      const found = [];
      for (let at = 0; at < text.length; at += size) found.push(...eventsIn(text.slice(at, at + size)));
      expect(found, `in pieces of ${size}`).toEqual(['{"x":\n1}', "2"]);
    }
  });

  test("that broke off in the middle of an event does not give that event", () => {
    expect(eventReader()("id: a\ndata: 1\n")).toEqual([]);
  });
});
