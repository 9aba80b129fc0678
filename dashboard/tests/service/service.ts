/** A service that the pages ask, whose answers have the types of the API's document. */

import { http, type HttpHandler, HttpResponse } from "msw";
import { setupServer } from "msw/node";

import type { Asked, Got, Posted, Route } from "@/api/routes";
import type { Session } from "@/api/project/session";
import { hasEnded } from "@/lib/facts/jobFacts";
import type { Job, JobEvent } from "@/types/api";

import { aFile } from "./objects";

interface Call<Body> {
  /** The values of the route's places, in their order. */
  ids: string[];
  query: URLSearchParams;
  body: Body;
  headers: Headers;
}
type Reply<Answer, Body = undefined> = Answer | ((call: Call<Body>) => Answer | Response | Promise<Answer | Response>);
type Method = "get" | "post" | "delete";

function handler<Answer, Body>(method: Method, route: string, reply: Reply<Answer, Body>): HttpHandler {
  return http[method](`*${route.replaceAll(/\{(\w+)\}/g, ":$1")}`, async ({ request, params }) => {
    const isJson = request.headers.get("content-type")?.includes("json");
    const call = {
      ids: [...route.matchAll(/\{(\w+)\}/g)].map(([, name = ""]) => String(params[name])),
      query: new URL(request.url).searchParams,
      body: (isJson ? await request.json() : undefined) as Body,
      headers: request.headers,
    };
    const answer = typeof reply === "function" ? await (reply as (call: Call<Body>) => Answer | Response | Promise<Answer | Response>)(call) : reply;
    return answer instanceof Response ? answer : HttpResponse.json(answer as object);
  });
}

export const get = <Path extends Route>(route: Path, reply: Reply<Got<Path>>) => handler("get", route, reply);
export const post = <Path extends Route>(route: Path, reply: Reply<Posted<Path>, Asked<Path>>) => handler("post", route, reply);
export const remove = (route: Route, reply: Reply<object>) => handler("delete", route, reply);

/** A page of a list, and its last. */
export function listOf<Item extends { id: string }>(...data: Item[]) {
  return { object: "list" as const, data, has_more: false, first_id: data[0]?.id ?? null, last_id: data.at(-1)?.id ?? null };
}

export function refusal(status: number, message: string, more: { code?: string; param?: string } = {}): Response {
  return HttpResponse.json({ error: { message, type: "invalid_request_error", code: null, param: null, ...more } }, { status });
}

/** The answer does not come. */
export const noAnswer = (): Response => HttpResponse.error();

/** Holds answers back until they are released. */
export function heldBack() {
  let release: () => void = () => undefined;
  const released = new Promise<void>((resolve) => (release = resolve));
  return { release, then: <Answer>(answer: Answer) => async () => (await released, answer) };
}

export function signedIn(fields: Partial<Session> = {}): HttpHandler {
  const session: Session = { project: { id: "proj_1", name: "shop" }, role: "member", key_name: "test", is_operator: false, expires_at: null };
  return http.get("*/v1/session", () => HttpResponse.json({ ...session, ...fields }));
}

/** A job, and its log. The stream of a job that has ended is over at once; that of another one stays open. */
export function jobWithLog(job: Job, ...events: JobEvent[]): HttpHandler[] {
  return [
    get("/v1/fine_tuning/jobs/{fine_tuning_job_id}", job),
    http.get("*/v1/fine_tuning/jobs/:id/events", ({ request }) => {
      if (!request.headers.get("accept")?.includes("event-stream")) return HttpResponse.json(listOf(...events.toReversed()));
      return hasEnded(job) ? new Response(null, { status: 204 }) : new Response(new ReadableStream());
    }),
  ];
}

const MODEL = { id: "tiny", created: 0, owned_by: "tunery" };

/** A project with a base model, and nothing else. */
export function emptyProject(): HttpHandler[] {
  return [
    signedIn(),
    get("/v1/sign_in", { object: "sign_in.ways", by_key: true, sign_on: null, problem: null }),
    get("/v1/models", { object: "list", data: [MODEL] }),
    get("/v1/fine_tuning/jobs", listOf()),
    get("/v1/files", listOf()),
    get("/v1/files/{file_id}", ({ ids: [id = ""] }) => aFile(id)),
    get("/v1/adapters", listOf()),
    get("/v1/adapters/compositions", listOf()),
    get("/v1/adapters/{adapter_id}/exports", listOf()),
    get("/v1/adapters/{adapter_id}/descendants", listOf()),
    get("/v1/adapters/{adapter_id}/ranks", { data: [] }),
    get("/v1/aliases", listOf()),
    get("/v1/evals", listOf()),
    get("/v1/evals/{eval_id}/runs", listOf()),
    get("/v1/files/{file_id}/checks", listOf()),
    get("/v1/files/{file_id}/conversions", listOf()),
    get("/v1/fine_tuning/jobs/{fine_tuning_job_id}/checkpoints", listOf()),
    get("/v1/fine_tuning/jobs/{fine_tuning_job_id}/metrics", { data: [], has_more: false, thinned: false }),
    get("/v1/fine_tuning/jobs/{fine_tuning_job_id}/candidates", { data: [], winner: null, cost: null }),
    http.get("*/v1/adapters/:id/files/:name", () => refusal(404, "There is no such file.")),
    http.get("*/v1/files/:id/content", () => HttpResponse.text('{"messages": [{"role": "user", "content": "hi"}]}\n')),
  ];
}

export const server = setupServer(...emptyProject());
