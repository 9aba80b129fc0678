/** The one way to the API: typed by its OpenAPI document, failures thrown as `Refused` or `Unreachable`. */

import createClient, { type Middleware } from "openapi-fetch";

import { Refused, Unreachable } from "./failures";
import type { paths } from "./schema.gen";

/** A cookie authenticates us, so every unsafe request must carry what a foreign page cannot send. */
export const OURS = { "x-tunery-dashboard": "1" };

type OnSignedOut = (why: Refused) => void;
const listeners = new Set<OnSignedOut>();

/** Calls `listener` when a request is answered 401. Returns what ends that. */
export function onSignedOut(listener: OnSignedOut): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

const NO_CONTENT = 204; // to which no Response can be made with a body, not even with an empty one

/** `fetch` with our header, read to its end. Raises Refused for an error, Unreachable where none comes, or not whole. */
export async function ask(input: Request | string, init: RequestInit = {}): Promise<Response> {
  const request = new Request(input, init);
  const answer = await begin(request);
  if (answer.status === NO_CONTENT) return answer;
  return new Response(await answer.arrayBuffer().catch(cutOff(request.signal)), answer);
}

/** An answer whose body comes as it is made: what reads it turns a cut into Unreachable, by `cutOff`. */
export function askStream(input: string, init: RequestInit): Promise<Response> {
  return begin(new Request(input, init));
}

/** What a request, or the reading of its body, fails with: Unreachable, unless it was refused or ended by `signal`. */
export function cutOff(signal: AbortSignal): (cause: unknown) => never {
  return (cause) => {
    throw signal.aborted || cause instanceof Refused ? cause : new Unreachable();
  };
}

async function begin(request: Request): Promise<Response> {
  for (const [name, value] of Object.entries(OURS)) request.headers.set(name, value);
  const response = await fetch(request).catch(cutOff(request.signal));
  if (response.ok) return response;
  const refused = await Refused.of(response);
  if (response.status === 401) for (const listener of listeners) listener(refused);
  throw refused;
}

const throwing: Middleware = { onRequest: ({ request }) => ask(request) };

export const api = createClient<paths>({ baseUrl: location.origin });
api.use(throwing);

/** The body of an answer: `ask` has thrown where there is none. */
export async function body<T>(answer: Promise<{ data?: T }>): Promise<T> {
  return (await answer).data as T;
}
