/** Requests to the routes of the API: what each takes and answers, by the API's document. Raise as `ask`. */

import type { paths } from "@/types/schema.gen";

import { type JsonRequest, sendJson } from "./client";

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
/** The query of GET. */
export type Query<Path extends Route> = paths[Path] extends { get: { parameters: { query?: infer Asked } } }
  ? NonNullable<Asked>
  : never;

type Ids = readonly string[];

/** Returns a route with these ids in its places. A parameter of the query that is null or undefined is left out. */
export function routeOf(route: string, ids: Ids = [], query: object = {}): string {
  const path = ids.reduce((filled, id) => filled.replace(/\{\w+\}/, () => encodeURIComponent(id)), route);
  const asked = new URLSearchParams(Object.entries(query).filter(([, value]) => value != null)).toString();
  return asked ? `${path}?${asked}` : path;
}

export function get<Path extends Route>(
  route: Path,
  ids: Ids = [],
  { query, signal }: { query?: Query<Path>; signal?: AbortSignal | undefined } = {},
): Promise<Got<Path>> {
  return sendJson("GET", routeOf(route, ids, query), { signal });
}

export function post<Path extends Route>(
  route: Path,
  ids: Ids,
  body: Asked<Path>,
  options: Omit<JsonRequest, "body"> = {},
): Promise<Posted<Path>> {
  return sendJson("POST", routeOf(route, ids), { body, ...options });
}

export function remove(route: Route, ids: Ids): Promise<unknown> {
  return sendJson("DELETE", routeOf(route, ids));
}
