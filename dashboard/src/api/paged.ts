/** Lists that are read page by page, as far as the reader asks. */

import { keepPreviousData, useInfiniteQuery } from "@tanstack/react-query";

/** A list that was read so shortly before is the same for another part of the page. */
export const JUST_READ_MS = 2000;

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

/** Returns the query of a page. The first page has no `after`. */
export const pageQuery = (limit: number, after: string | null) => (after === null ? { limit } : { limit, after });
