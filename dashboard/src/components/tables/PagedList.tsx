import type { ReactNode } from "react";

import { Failure } from "@/components/page/Notice";

interface PagedListProps<Item> {
  list: {
    items: readonly Item[] | undefined;
    failureReason: unknown;
    hasNextPage: boolean;
    isFetchingNextPage: boolean;
    fetchNextPage: () => unknown;
  };
  /** Shown instead of an empty list. */
  empty: ReactNode;
  children: (items: readonly Item[]) => ReactNode;
}

/** A list that is read page by page. It shows a failure, that the list is empty, and a button that reads more. */
export function PagedList<Item>({ list, empty, children }: PagedListProps<Item>) {
  const { items, failureReason, hasNextPage, isFetchingNextPage, fetchNextPage } = list;
  return (
    <>
      {failureReason != null && <Failure error={failureReason} />}
      {items === undefined && failureReason == null && <p className="px-4 py-3 text-muted">Reading…</p>}
      {items?.length === 0 && <div className="px-4 py-3 text-muted">{empty}</div>}
      {items !== undefined && items.length > 0 && children(items)}
      {hasNextPage && (
        <div className="border-t border-line p-3 text-center">
          <button type="button" className="button" disabled={isFetchingNextPage} onClick={() => void fetchNextPage()}>
            {isFetchingNextPage ? "Reading…" : "Show more"}
          </button>
        </div>
      )}
    </>
  );
}
