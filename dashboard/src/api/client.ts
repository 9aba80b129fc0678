/**
 * All requests to the API go through this module. Its OpenAPI document gives the types. A failed request throws
 * `Refused` or `Unreachable`.
 */

import createClient, { type Middleware } from "openapi-fetch";

import { Refused, Unreachable } from "./failures";
import type { paths } from "@/types/schema.gen";

/** A cookie authenticates the page, so every unsafe request must carry a header that a foreign page cannot send. */
export const OURS = { "x-tunery-dashboard": "1" };

type OnSignedOut = (why: Refused) => void;
const listeners = new Set<OnSignedOut>();

/** Calls `listener` when a request is answered with status 401. Returns a function that removes the listener. */
export function onSignedOut(listener: OnSignedOut): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

const NO_CONTENT = 204; // a Response with this status can have no body, not even an empty one

/**
 * Sends a request with our header and reads the answer to its end. Raises Refused if the API answers with an error, and
 * Unreachable if no answer comes or the answer is cut off.
 */
export async function ask(input: Request | string, init: RequestInit = {}): Promise<Response> {
  const request = requestTo(input, init);
  const answer = await begin(request);
  if (answer.status === NO_CONTENT) return answer;
  return new Response(await answer.arrayBuffer().catch(cutOff(request.signal)), answer);
}

/** Sends a request and returns an answer whose body is still arriving. Its reader must catch failures with `cutOff`. */
export function askStream(input: string, init: RequestInit): Promise<Response> {
  return begin(requestTo(input, init));
}

/**
 * Returns a handler for the failure of a request or of reading its body. The handler throws Unreachable, unless the
 * request was refused or `signal` ended it: then it throws the cause.
 */
export function cutOff(signal: AbortSignal): (cause: unknown) => never {
  return (cause) => {
    throw signal.aborted || cause instanceof Refused ? cause : new Unreachable();
  };
}

const requestTo = (input: Request | string, init: RequestInit) =>
  new Request(typeof input === "string" ? new URL(input, location.origin) : input, init);

async function begin(request: Request): Promise<Response> {
  for (const [name, value] of Object.entries(OURS)) request.headers.set(name, value);
  const response = await fetch(request).catch(cutOff(request.signal));
  if (response.ok) return response;
  const refused = await Refused.of(response);
  if (response.status === 401) for (const listener of listeners) listener(refused);
  throw refused;
}

/** Sends a request whose body and answer are JSON. Raises as `ask`. */
export async function sendJson<Answer>(
  method: string,
  path: string,
  { body, headers, signal }: { body?: unknown; headers?: Record<string, string>; signal?: AbortSignal } = {},
): Promise<Answer> {
  const json = body !== undefined && { body: JSON.stringify(body), headers: { "content-type": "application/json", ...headers } };
  return (await ask(path, { method, ...json, ...(signal && { signal }) })).json();
}

const throwing: Middleware = { onRequest: ({ request }) => ask(request) };

export const api = createClient<paths>({ baseUrl: location.origin });
api.use(throwing);

/** Returns the body of an answer. There is one, because `ask` throws for a failed request. */
export async function body<T>(answer: Promise<{ data?: T }>): Promise<T> {
  return (await answer).data as T;
}
