import { useMutation } from "@tanstack/react-query";
import { useVirtualizer } from "@tanstack/react-virtual";
import { useEffect, useId, useMemo, useRef, useState } from "react";

import type { Following, LiveJob } from "@/api/live/liveJob";
import { useVersion } from "@/lib/browser/changing";
import { type EventKind, matching } from "@/lib/jobs/eventLog";
import { dateTime, timeOfDay } from "@/lib/text/format";
import { Prose } from "@/components/basics/Prose";
import { Failure } from "@/components/page/Notice";
import { Section } from "@/components/page/Section";
import type { JobEvent } from "@/types/api";

const LINE_HEIGHT = 24; // pixels of a message that fits on one line
const AT_END = 40; // pixels from the end up to which the log still follows the newest line

const STATES: Record<Following, string> = {
  connecting: "Connecting…",
  live: "Following",
  over: "The job has ended",
  broken: "Connection lost, trying again",
};

export function EventLog({ live }: { live: LiveJob }) {
  useVersion(live);
  const { log, following } = live;
  const searchNote = useId();
  const [kind, setKind] = useState<EventKind>("all");
  const [words, setWords] = useState("");
  const events = useMemo(() => matching(log.events, kind, words), [log, kind, words]);
  return (
    <Section
      title="Log"
      tools={
        <>
          <span className="fact" role="status">
            {STATES[following]}
          </span>
          <div className="flex flex-wrap gap-2">
            <select
              aria-label="Kind of lines"
              className="field"
              value={kind}
              onChange={(event) => setKind(event.target.value as EventKind)}
            >
              <option value="all">all lines</option>
              <option value="messages">without steps</option>
              <option value="problems">warnings and errors</option>
            </select>
            <input
              type="search"
              aria-label="Search the log"
              aria-describedby={log.hasOlder ? searchNote : undefined}
              placeholder="Search"
              className="field w-32"
              value={words}
              onChange={(event) => setWords(event.target.value)}
            />
          </div>
          {log.hasOlder && (
            <span id={searchNote} className="fact">
              Searches only the lines shown. Older lines are not read yet.
            </span>
          )}
        </>
      }
    >
      {log.hasOlder && <OlderLines live={live} />}
      <Lines events={events} />
    </Section>
  );
}

function OlderLines({ live }: { live: LiveJob }) {
  const { mutate, isPending, error } = useMutation({ mutationFn: () => live.readOlderEvents() });
  return (
    <>
      <p className="border-t border-line px-4 py-1">
        <button type="button" className="link" disabled={isPending} onClick={() => mutate()}>
          {isPending ? "Reading…" : "Show older lines"}
        </button>
      </p>
      {error && <Failure asked error={error} />}
    </>
  );
}

/** The lines of the log. The newest line stays in sight unless the reader has scrolled away from it. */
function Lines({ events }: { events: readonly JobEvent[] }) {
  const scroller = useRef<HTMLDivElement>(null);
  const follows = useRef(true);
  const lines = useVirtualizer({
    count: events.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => LINE_HEIGHT,
    overscan: 10,
    getItemKey: (at) => events[at]?.id ?? at,
  });
  const noticeScrolling = () => {
    const { scrollHeight = 0, scrollTop = 0, clientHeight = 0 } = scroller.current ?? {};
    follows.current = scrollHeight - scrollTop - clientHeight < AT_END;
  };
  useEffect(() => {
    if (follows.current && events.length) lines.scrollToIndex(events.length - 1, { align: "end" });
  }, [events, lines]);
  return (
    <div
      ref={scroller}
      onScroll={noticeScrolling}
      role="log"
      aria-live="off" // a screen reader reads the status, but not hundreds of lines a minute
      aria-label="Log lines"
      tabIndex={0}
      className="h-96 overflow-auto border-t border-line font-mono text-xs"
    >
      <ol className="relative" style={{ height: lines.getTotalSize() }}>
        {lines.getVirtualItems().map(({ index, key, start }) => {
          const event = events[index];
          return (
            event && (
              <li
                key={key}
                ref={lines.measureElement}
                data-index={index}
                className="absolute inset-x-0 top-0 flex gap-3 px-4 py-0.5"
                style={{ transform: `translateY(${start}px)` }}
              >
                <Line event={event} />
              </li>
            )
          );
        })}
      </ol>
    </div>
  );
}

const LEVELS: Record<string, string> = { warn: "text-warn", error: "text-bad" };

function Line({ event }: { event: JobEvent }) {
  const { created_at, level, message } = event;
  return (
    <>
      <time className="text-muted" title={dateTime(created_at)}>
        {timeOfDay(created_at)}
      </time>
      <span className={`min-w-0 break-words ${LEVELS[level] ?? ""}`}>
        {level !== "info" && <strong>{level}: </strong>}
        <Prose text={message} />
      </span>
    </>
  );
}
