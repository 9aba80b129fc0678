import { createParser } from "eventsource-parser";

/**
 * Returns a function that takes the next piece of a stream of server-sent events and returns the data of the events that
 * are complete now. It keeps an incomplete event for the next piece. Comments, which keep a connection alive, return
 * nothing.
 */
export function eventReader(): (piece: string) => string[] {
  let complete: string[] = [];
  const parser = createParser({ onEvent: ({ data }) => complete.push(data) });
  return (piece) => {
    complete = [];
    parser.feed(piece);
    return complete;
  };
}
