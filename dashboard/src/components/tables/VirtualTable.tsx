import { useVirtualizer } from "@tanstack/react-virtual";
import { useCallback, useEffect, useEffectEvent, useRef, useState } from "react";

import { useShortcuts } from "@/lib/browser/shortcuts";

import { DataTable, type DataTableProps } from "./DataTable";

const OVERSCAN = 8; // rows beyond each edge of the screen

interface VirtualTableProps<Row, Sort extends string> extends Omit<DataTableProps<Row, Sort>, "window" | "region" | "regionRef"> {
  /** The name of the region that scrolls. */
  label: string;
  /** Classes of that region. */
  className: string;
  /** Pixels. Every row has this height. */
  rowHeight: number;
  /** Whether `rows` are all rows that there are. */
  isComplete: boolean;
  /** Called after each render with the rows on the screen, and with the index of the last of them. */
  onShown: (rows: readonly Row[], last: number) => void;
}

/**
 * A table of any number of rows, of which only the rows on the screen are in the page. The keys j and k move the focus
 * from row to row, and x selects the row that has it.
 */
export function VirtualTable<Row, Sort extends string = string>(props: VirtualTableProps<Row, Sort>) {
  const { label, className, rowHeight, isComplete, onShown, rows, keyOf, selection, ...rest } = props;
  const scroller = useRef<HTMLDivElement>(null);
  const [headHeight, headRef] = useHeight();
  const [active, setActive] = useState(-1);
  const virtual = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => rowHeight,
    overscan: OVERSCAN,
    scrollMargin: headHeight, // the head stands before the rows, and covers them while they scroll
    scrollPaddingStart: headHeight,
    getItemKey: (at) => (rows[at] === undefined ? at : keyOf(rows[at])),
  });
  const items = virtual.getVirtualItems();
  const shown = items.flatMap(({ index }) => (rows[index] === undefined ? [] : [rows[index]]));
  const [first, last] = [items[0], items.at(-1)];

  const move = (by: number) => {
    const next = Math.min(Math.max(active + by, 0), rows.length - 1);
    setActive(next);
    virtual.scrollToIndex(next);
  };
  const toggle = () => rows[active] !== undefined && selection?.onToggle(rows[active]);
  useShortcuts({ j: () => move(1), k: () => move(-1), x: toggle });

  const report = useEffectEvent(() => onShown(shown, last?.index ?? 0));
  useEffect(() => report());

  return (
    <DataTable
      {...rest}
      rows={shown}
      keyOf={keyOf}
      selection={selection}
      region={{ label, className, stickyHead: true }}
      regionRef={scroller}
      window={{
        first: first?.index ?? 0,
        before: (first?.start ?? headHeight) - headHeight,
        after: virtual.getTotalSize() - ((last?.end ?? headHeight) - headHeight),
        rowHeight,
        count: isComplete ? rows.length : null,
        active,
        headRef,
      }}
    />
  );
}

/** The height of the element that gets the ref. It follows the element's size. */
function useHeight(): [number, (element: HTMLElement | null) => (() => void) | undefined] {
  const [height, setHeight] = useState(0);
  const measure = useCallback((element: HTMLElement | null) => {
    if (!element) return undefined;
    const observer = new ResizeObserver(() => setHeight(element.offsetHeight));
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  return [height, measure];
}
