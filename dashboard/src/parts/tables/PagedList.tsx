import type { ReactNode } from "react";

import { Failure } from "@/parts/page/Notice";

interface PagedListProps {
  list: {
    items: readonly unknown[] | undefined;
    failureReason: unknown;
    hasNextPage: boolean;
    isFetchingNextPage: boolean;
    fetchNextPage: () => unknown;
  };
  /** In the place of an empty list. */
  empty: ReactNode;
  children: ReactNode;
}

/** Around a list that is read page by page: what went wrong, that there is nothing, and how to read on. */
export function PagedList({ list, empty, children }: PagedListProps) {
  const { items, failureReason, hasNextPage, isFetchingNextPage, fetchNextPage } = list;
  return (
    <>
      {failureReason != null && <Failure error={failureReason} />}
      {items === undefined && failureReason == null && <p className="px-4 py-3 text-muted">Reading…</p>}
      {items?.length === 0 && <div className="px-4 py-3 text-muted">{empty}</div>}
      {items !== undefined && items.length > 0 && children}
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
