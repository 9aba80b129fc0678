/** Lists that are read page by page, as far as the reader asks. */

import { keepPreviousData, useInfiniteQuery } from "@tanstack/react-query";

import { sendJson } from "./client";
import { type Got, type Query, type Route, routeOf } from "./routes";

/** A list that was read so shortly before is the same for another part of the page. */
export const JUST_READ_MS = 2000;
const PAGE = 50;

interface ReadPage<T> {
  data: T[];
  has_more: boolean;
  last_id: string | null;
}

interface Options<T> {
  enabled?: boolean;
  /** Reads the pages again after so many milliseconds, as long as this says so of the items. */
  refetchWhile?: (items: T[]) => boolean;
  everyMs?: number;
  /** Milliseconds for which what was read is not asked for again. */
  staleTime?: number;
  /** Whether the items of an earlier key stay until those of a new one are read. */
  keepsItems?: boolean;
}

/** Reads a list page by page. `read` fetches the page after the id `after`; null asks for the first page. */
export function usePaged<T>(
  key: readonly unknown[],
  read: (after: string | null, signal: AbortSignal) => Promise<ReadPage<T>>,
  { enabled = true, refetchWhile, everyMs = 0, staleTime = JUST_READ_MS, keepsItems = false }: Options<T> = {},
) {
  const query = useInfiniteQuery({
    queryKey: key,
    queryFn: ({ pageParam, signal }) => read(pageParam, signal),
    initialPageParam: null as string | null,
    getNextPageParam: (page) => (page.has_more ? page.last_id : undefined),
    enabled,
    staleTime,
    placeholderData: keepsItems ? keepPreviousData : undefined,
    refetchInterval: ({ state }) =>
      refetchWhile?.(state.data?.pages.flatMap((page) => page.data) ?? []) ? everyMs : false,
  });
  return { ...query, items: query.data?.pages.flatMap((page) => page.data) };
}

type Item<Path extends Route> = Got<Path> extends { data: (infer One)[] } ? One : never;

interface Pages<Path extends Route> extends Options<Item<Path>> {
  /** What is asked for beside the place of the page. */
  query?: Omit<Query<Path>, "limit" | "after">;
  /** Items of a page. */
  limit?: number;
}

/** Reads the list of a route page by page. */
export function usePages<Path extends Route>(
  key: readonly unknown[],
  route: Path,
  ids: readonly string[] = [],
  { query, limit = PAGE, ...options }: Pages<Path> = {},
) {
  const read = (after: string | null, signal: AbortSignal) =>
    sendJson<ReadPage<Item<Path>>>("GET", routeOf(route, ids, { ...query, limit, after }), { signal });
  return usePaged(key, read, options);
}
