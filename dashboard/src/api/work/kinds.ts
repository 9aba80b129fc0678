/** The kinds of work that the service does for a project beside training: the names and the routes of each. */

import { adapterKey, FILES_KEY, JUDGED_KEY } from "@/api/keys";
import type { Asked, Got, Route } from "@/api/routes";

interface Description {
  name: string;
  /** Creates work of the kind. */
  start: Route;
  /** Lists the work, newest first. A measurement has no list, because an adapter has one report. */
  list?: Route;
  /** Reads one. The same route deletes it, and with `/cancel` cancels it. */
  one: Route;
  /** What a list is asked for beside its page. */
  query?: Readonly<Record<string, string>>;
  /** Whether its list leaves the report out. */
  isSummarised?: boolean;
  /** The keys of other queries that the work changes. */
  changes?: (parent: string) => readonly (readonly unknown[])[];
}

export const KINDS = {
  export: {
    name: "export",
    start: "/v1/adapters/{adapter_id}/exports",
    list: "/v1/adapters/{adapter_id}/exports",
    one: "/v1/adapters/{adapter_id}/exports/{export_id}",
  },
  composition: {
    name: "composition",
    start: "/v1/adapters/compose",
    list: "/v1/adapters/compositions",
    one: "/v1/adapters/compositions/{composition_id}",
  },
  measurement: {
    name: "measurement",
    start: "/v1/adapters/{adapter_id}/portability",
    one: "/v1/adapters/{adapter_id}/portability",
    changes: (adapterId) => [adapterKey(adapterId)], // it stands on the model card, whose file has another hash then
  },
  run: {
    name: "run",
    start: "/v1/evals/{eval_id}/runs",
    list: "/v1/evals/{eval_id}/runs",
    one: "/v1/evals/{eval_id}/runs/{run_id}",
    query: { order: "desc" },
    changes: () => [JUDGED_KEY],
  },
  check: {
    name: "check",
    start: "/v1/files/{file_id}/check",
    list: "/v1/files/{file_id}/checks",
    one: "/v1/files/{file_id}/checks/{check_id}",
    isSummarised: true,
    changes: () => [FILES_KEY],
  },
  conversion: {
    name: "conversion",
    start: "/v1/files/{file_id}/convert",
    list: "/v1/files/{file_id}/conversions",
    one: "/v1/files/{file_id}/conversions/{conversion_id}",
    isSummarised: true,
    changes: () => [FILES_KEY],
  },
} as const satisfies Record<string, Description>;

export type Kind = keyof typeof KINDS;
export type ListedKind = Exclude<Kind, "measurement">;

export const describe = (kind: Kind): Description => KINDS[kind];

/** One piece of work, as its route shows it. */
export type Work<K extends Kind> = Got<(typeof KINDS)[K]["one"]>;
/** A piece of work in its list. */
export type Listed<K extends ListedKind> =
  Got<(typeof KINDS)[K]["list"]> extends { data: (infer Item extends { id: string; status: string })[] } ? Item : never;
/** The request for work of a kind. */
export type Request<K extends Kind> = Asked<(typeof KINDS)[K]["start"]>;
