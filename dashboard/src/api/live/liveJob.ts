/**
 * A job's metrics and log, followed while its page is visible.
 *
 * At the start, and after a stream broke or the tab was hidden, `LiveJob` catches up. It reads the newest events, back
 * to the last known event if that is not too far, and then the steps after the last known step. From then on, the
 * service pushes events. Events of type `metrics` hold the values of a step, so nothing is read twice. Events are read
 * before metrics, so that a step which is made in between arrives twice rather than never.
 */

import { askStream, cutOff } from "@/api/client";
import { isPassing } from "@/api/failures";
import { get, routeOf } from "@/api/routes";
import { Changing } from "@/lib/browser/changing";
import type { Series, StepValues } from "@/lib/charts/series";
import { type EventLog, NO_EVENTS, withNewest, withOlder, withPushed } from "@/lib/jobs/eventLog";
import type { EventPage, JobEvent } from "@/types/api";

import { eventReader } from "./eventStream";
import { StepReader } from "./stepReader";

const EVENTS = "/v1/fine_tuning/jobs/{fine_tuning_job_id}/events";
const EVENTS_PAGE = 200;
const GAP_PAGE = 1000; // the API's largest page
const MOST_MISSED = 2000; // events that are read after a gap; a click reads the events before them
const NOTIFY_MS = 250; // between two renderings
const FIRST_RETRY_MS = 1000;
const LAST_RETRY_MS = 30_000;
const SILENCE_MS = 45_000; // three times the interval of the server's keep-alive comments

export type Following = "connecting" | "live" | "over" | "broken";

export class LiveJob extends Changing {
  readonly series: Series;
  log: EventLog = NO_EVENTS;
  following: Following = "connecting";
  failure: unknown = null;
  /** Whether the log and the metrics have been read once, or could not be read. */
  isRead = false;

  private running: AbortController | null = null;
  private readonly reader: StepReader;
  private readonly id: string;
  private readonly onJobChange: () => void;

  /** `onJobChange` is called when the job itself may have changed: with each message, and when the stream has ended. */
  constructor(id: string, onJobChange: () => void) {
    super(NOTIFY_MS);
    this.id = id;
    this.reader = new StepReader(id, null, () => this.notify());
    this.series = this.reader.series;
    this.onJobChange = onJobChange;
  }

  start(): void {
    if (this.running || this.following === "over") return;
    this.running = new AbortController();
    void this.run(this.running.signal);
  }

  stop(): void {
    this.running?.abort();
    this.running = null;
  }

  /** Raises Refused or Unreachable. */
  async readOlderEvents(): Promise<void> {
    const first = this.log.events[0]?.id;
    if (first === undefined) return;
    const page = await this.fetchEvents(first);
    if (this.log.events[0]?.id === first) this.log = withOlder(this.log, page.data, page.has_more);
    this.notify();
  }

  private async run(signal: AbortSignal): Promise<void> {
    let retry = FIRST_RETRY_MS;
    while (!signal.aborted) {
      try {
        await this.catchUp(signal);
        if (await this.follow(signal)) {
          const wasLive = this.following === "live";
          // The metrics of a job with candidates were those of the best candidate. Now they are the winner's.
          if (this.series.column("candidate")) await this.readAgain(signal);
          this.become("over");
          if (wasLive) this.onJobChange();
          return;
        }
        retry = FIRST_RETRY_MS;
      } catch (error) {
        if (signal.aborted) return;
        if (this.following === "live") retry = FIRST_RETRY_MS;
        this.become("broken", error);
        if (!isPassing(error)) return;
      }
      await pause(retry, signal);
      retry = Math.min(2 * retry, LAST_RETRY_MS);
    }
  }

  private async catchUp(signal: AbortSignal): Promise<void> {
    const last = this.log.events.at(-1)?.id;
    const page = await this.fetchSince(last, signal);
    this.log = withNewest(this.log, page.data, page.has_more);
    if (last !== this.log.events.at(-1)?.id) this.onJobChange();
    await this.reader.readNew(signal);
    this.isRead = true;
    this.notify();
  }

  private async readAgain(signal: AbortSignal): Promise<void> {
    this.series.clear();
    await this.reader.readNew(signal);
  }

  /** Adds the pushed events until the stream ends. Returns whether the job is over. */
  private async follow(signal: AbortSignal): Promise<boolean> {
    const silence = new AbortController();
    const unlessSilent = <T>(awaited: Promise<T>): Promise<T> => {
      const silent = setTimeout(() => silence.abort(), SILENCE_MS);
      return awaited.finally(() => clearTimeout(silent)).catch(cutOff(signal));
    };
    const last = this.log.events.at(-1)?.id;
    const headers = { accept: "text/event-stream", ...(last !== undefined && { "last-event-id": last }) };
    const response = await unlessSilent(askStream(routeOf(EVENTS, [this.id]), { headers, signal: AbortSignal.any([signal, silence.signal]) }));
    if (response.status === 204 || !response.body) return true;
    this.become("live");
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    const eventsIn = eventReader();
    for (;;) {
      const { done, value } = await unlessSilent(reader.read());
      if (done) return false;
      this.add(eventsIn(value).map((data) => JSON.parse(data) as JobEvent));
    }
  }

  private add(events: JobEvent[]): void {
    if (!events.length) return;
    this.log = withPushed(this.log, events);
    if (!events.every(isMetrics)) this.onJobChange();
    this.series.add(events.filter(isMetrics).map((event) => event.data));
    this.notify();
  }

  /** Returns the newest page of events and the pages before it, until the event `known` is among them. Newest first. */
  private async fetchSince(known: string | undefined, signal: AbortSignal): Promise<EventPage> {
    let page = await this.fetchEvents(undefined, signal);
    const data = [...page.data];
    const isGap = () => page.has_more && data.length < MOST_MISSED && !page.data.some(({ id }) => id === known);
    while (known !== undefined && isGap()) {
      page = await this.fetchEvents(data.at(-1)?.id, signal, GAP_PAGE);
      data.push(...page.data);
    }
    return { ...page, data };
  }

  private fetchEvents(after?: string, signal?: AbortSignal, limit = EVENTS_PAGE): Promise<EventPage> {
    return get(EVENTS, [this.id], { query: { limit, after }, signal });
  }

  private become(following: Following, failure: unknown = null): void {
    this.following = following;
    this.failure = failure;
    this.isRead ||= failure !== null;
    this.notify();
  }
}

function isMetrics(event: JobEvent): event is JobEvent & { data: StepValues } {
  return event.type === "metrics" && typeof event.data?.step === "number";
}

function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}
