/** The routes of the API as types: what each takes and answers, by the API's document. */

import type { paths } from "@/types/schema.gen";

import { sendJson } from "./client";

export type Route = keyof paths;

type Json<Content> = Content extends { content: { "application/json": infer Body } } ? Body : never;
type Answer<Operation> = Operation extends { responses: { 200: infer Good } } ? Json<Good> : never;

/** What GET answers. */
export type Got<Path extends Route> = paths[Path] extends { get: infer Operation } ? Answer<Operation> : never;
/** What POST answers. */
export type Posted<Path extends Route> = paths[Path] extends { post: infer Operation } ? Answer<Operation> : never;
/** What POST takes; nothing for a route that takes no body. */
export type Asked<Path extends Route> = paths[Path] extends { post: { requestBody?: infer Body } }
  ? [NonNullable<Body>] extends [never]
    ? undefined
    : Json<NonNullable<Body>>
  : never;

/** Returns a route with these ids in its places. */
export function routeOf(route: string, ids: readonly string[]): string {
  return ids.reduce((path, id) => path.replace(/\{\w+\}/, () => encodeURIComponent(id)), route);
}

/** Posts a request whose body openapi-fetch cannot type, because a part of it is only ever null. */
export function post<Path extends Route>(
  route: Path,
  ids: readonly string[],
  body: Asked<Path>,
  options: { headers?: Record<string, string>; signal?: AbortSignal } = {},
): Promise<Posted<Path>> {
  return sendJson("POST", routeOf(route, ids), { body, ...options });
}
