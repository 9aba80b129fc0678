import { createParser } from "eventsource-parser";

import type { JobEvent } from "@/api/types";

/**
 * Returns a function that takes the next piece of a stream of server-sent events and returns the events that are
 * complete now. It keeps an incomplete event for the next piece. Comments, which keep a connection alive, return nothing.
 */
export function eventReader(): (piece: string) => JobEvent[] {
  let complete: JobEvent[] = [];
  const parser = createParser({ onEvent: ({ data }) => complete.push(JSON.parse(data) as JobEvent) });
  return (piece) => {
    complete = [];
    parser.feed(piece);
    return complete;
  };
}
