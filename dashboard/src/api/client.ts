/**
 * All requests to the API go through this module. `routes.ts` gives them the types of the OpenAPI document. A failed
 * request throws `Refused` or `Unreachable`.
 */

import { Listeners } from "@/lib/browser/changing";

import { Refused, Unreachable } from "./failures";

/** A cookie authenticates the page, so every unsafe request must carry a header that a foreign page cannot send. */
export const OURS = { "x-tunery-dashboard": "1" };

const signedOut = new Listeners<[why: Refused]>();

/** Calls the given function when a request is answered with status 401. Returns a function that removes it. */
export const onSignedOut = signedOut.add;

const NO_CONTENT = 204; // a Response with this status can have no body, not even an empty one

/**
 * Sends a request with our header and reads the answer to its end. Raises Refused if the API answers with an error, and
 * Unreachable if no answer comes or the answer is cut off.
 */
export async function ask(path: string, init: RequestInit = {}): Promise<Response> {
  const request = requestTo(path, init);
  const answer = await begin(request);
  if (answer.status === NO_CONTENT) return answer;
  return new Response(await answer.arrayBuffer().catch(cutOff(request.signal)), answer);
}

/** Sends a request and returns an answer whose body is still arriving. Its reader must catch failures with `cutOff`. */
export function askStream(path: string, init: RequestInit): Promise<Response> {
  return begin(requestTo(path, init));
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

const requestTo = (path: string, init: RequestInit) => new Request(new URL(path, location.origin), init);

async function begin(request: Request): Promise<Response> {
  for (const [name, value] of Object.entries(OURS)) request.headers.set(name, value);
  const response = await fetch(request).catch(cutOff(request.signal));
  if (response.ok) return response;
  const refused = await Refused.of(response);
  if (response.status === 401) signedOut.call(refused);
  throw refused;
}

export interface JsonRequest {
  body?: unknown;
  headers?: Record<string, string>;
  signal?: AbortSignal | undefined;
}

/** Sends a request whose body and answer are JSON. Raises as `ask`. */
export async function sendJson<Answer>(
  method: string,
  path: string,
  { body, headers, signal }: JsonRequest = {},
): Promise<Answer> {
  const json = body !== undefined && { body: JSON.stringify(body), headers: { "content-type": "application/json", ...headers } };
  return (await ask(path, { method, ...json, ...(signal && { signal }) })).json();
}
