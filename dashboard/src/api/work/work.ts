/** Work of all kinds: it is started, read again while it is under way, cancelled and deleted. */

import { queryOptions, useMutation, useQueryClient } from "@tanstack/react-query";

import { sendJson } from "@/api/client";
import { JUST_READ_MS, usePaged } from "@/api/paged";
import { readAgain } from "@/api/readAgain";
import { routeOf } from "@/api/routes";
import type { Export } from "@/types/api";

import { describe, type Kind, type Listed, type ListedKind, type Request, type Work } from "./kinds";

const PAGE = 50;
const POLL_MS = 2000;

/** What all work says of itself. */
export interface WorkState extends Pick<Export, "created_at" | "progress"> {
  status: string;
  error: { message?: string } | null;
}

interface Page<Item> {
  data: Item[];
  has_more: boolean;
  last_id: string | null;
}

/** Returns whether work waits or runs. A report on an adapter is under way while its measurement is. */
export function isUnderWay(work: { status: string } | { measurement: { status: string } | null }): boolean {
  const { status } = ("measurement" in work ? work.measurement : work) ?? {};
  return status === "queued" || status === "running" || status === "in_progress";
}

const keyOf = (kind: Kind, ids: readonly string[]) => ["work", kind, ...ids] as const;

/** Reads a page of the work of a kind, newest first. `parents` are the ids in its route: of an adapter, for example. */
export function readWork<K extends ListedKind>(
  kind: K,
  parents: readonly string[],
  page: { limit: number; after?: string | null },
  signal: AbortSignal,
): Promise<Page<Listed<K>>> {
  const { list = "", query } = describe(kind);
  return sendJson("GET", routeOf(list, parents, { ...query, ...page }), { signal });
}

function readOne<K extends Kind>(kind: K, ids: readonly string[], signal: AbortSignal): Promise<Work<K>> {
  return sendJson("GET", routeOf(describe(kind).one, ids), { signal });
}

/** The work of a kind, newest first. It is read again while some of it is under way. */
export function useWorkList<K extends ListedKind>(kind: K, ...parents: readonly string[]) {
  return usePaged(
    keyOf(kind, parents),
    (after, signal) => readWork(kind, parents, { limit: PAGE, after }, signal),
    { refetchWhile: (items) => items.some(isUnderWay), everyMs: POLL_MS },
  );
}

/** One piece of work, read again while it is under way. Once it has ended, what it changes is read again. */
export function workQuery<K extends Kind>(kind: K, ...ids: readonly string[]) {
  return followed(kind, keyOf(kind, ids), ids, (signal) => readOne(kind, ids, signal));
}

/** The newest work of a kind; null if there is none. It is read again like one piece of work. */
export function newestWorkQuery<K extends ListedKind>(kind: K, ...parents: readonly string[]) {
  return followed(kind, [...keyOf(kind, parents), "newest"], parents, async (signal): Promise<Work<K> | null> => {
    const [newest] = (await readWork(kind, parents, { limit: 1 }, signal)).data;
    if (!newest) return null;
    return describe(kind).isSummarised ? readOne(kind, [...parents, newest.id], signal) : (newest as Work<K>);
  });
}

type Followed = Parameters<typeof isUnderWay>[0] | null;

function followed<Read extends Followed>(
  kind: Kind,
  queryKey: readonly string[],
  [parent = ""]: readonly string[],
  read: (signal: AbortSignal) => Promise<Read>,
) {
  return queryOptions({
    queryKey,
    queryFn: async ({ client, signal }) => {
      const before = client.getQueryData<Read>(queryKey);
      const now = await read(signal);
      const hasEnded = before && isUnderWay(before) && now && !isUnderWay(now);
      if (hasEnded) for (const key of describe(kind).changes?.(parent) ?? []) void client.invalidateQueries({ queryKey: key });
      return now;
    },
    staleTime: JUST_READ_MS,
    refetchInterval: ({ state: { data } }) => (data && isUnderWay(data as Followed & object) ? POLL_MS : false),
  });
}

/** What is done with work of a kind: `start` creates it, `end` cancels it while it is under way, and deletes it afterwards. */
export function useWork<K extends Kind>(kind: K, ...parents: readonly string[]) {
  const client = useQueryClient();
  const { start, one, changes } = describe(kind);
  const changed = () => {
    const keys = [keyOf(kind, parents), ...(changes?.(parents[0] ?? "") ?? [])];
    return Promise.all(keys.map((key) => readAgain(client, key)));
  };
  return {
    start: useMutation({
      mutationFn: (asked: Request<K>) => sendJson<Work<K>>("POST", routeOf(start, parents), { body: asked }),
      onSuccess: changed,
    }),
    end: useMutation({
      mutationFn: (work: Parameters<typeof isUnderWay>[0] & { id?: string }) => {
        const path = routeOf(one, [...parents, work.id ?? ""]);
        return isUnderWay(work) ? sendJson("POST", `${path}/cancel`) : sendJson("DELETE", path);
      },
      onSettled: changed,
    }),
  };
}
