/** Lists that are read page by page, as far as the reader asks. */

import { useInfiniteQuery } from "@tanstack/react-query";

interface ReadPage<T> {
  data: T[];
  has_more: boolean;
  last_id: string | null;
}

/** Reads a list page by page. `read` fetches the page after the id `after`; null asks for the first page. */
export function usePaged<T>(
  key: readonly unknown[],
  read: (after: string | null, signal: AbortSignal) => Promise<ReadPage<T>>,
  enabled = true,
) {
  const query = useInfiniteQuery({
    queryKey: key,
    queryFn: ({ pageParam, signal }) => read(pageParam, signal),
    initialPageParam: null as string | null,
    getNextPageParam: (page) => (page.has_more ? page.last_id : undefined),
    enabled,
  });
  return { ...query, items: query.data?.pages.flatMap((page) => page.data) };
}

/** Returns the query of a page. The first page has no `after`. */
export const pageQuery = (limit: number, after: string | null) => (after === null ? { limit } : { limit, after });
