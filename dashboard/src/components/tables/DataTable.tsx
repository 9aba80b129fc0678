import type { ReactNode, Ref } from "react";

import type { Column, RowSelection, RowWindow, ScrollRegion, Sorting } from "./columns";
import { TableHead } from "./TableHead";
import { TableRow } from "./TableRow";

export interface DataTableProps<Row, Sort extends string = string> {
  columns: readonly Column<Row, Sort>[];
  rows: readonly Row[];
  keyOf: (row: Row) => string | number;
  rowClasses?: (row: Row) => string;
  bodyClasses?: string;
  /** Whether each column keeps its width: a long text is cut off and does not make its column wider. */
  fixed?: boolean;
  region?: ScrollRegion;
  regionRef?: Ref<HTMLDivElement>;
  sorting?: Sorting<Sort>;
  selection?: RowSelection<Row>;
  window?: RowWindow;
  /** Shown below the table in its region. */
  children?: ReactNode;
}

/** The one table of the dashboard. `VirtualTable` is a layer on it for many rows. */
export function DataTable<Row, Sort extends string = string>(props: DataTableProps<Row, Sort>) {
  const { columns, rows, keyOf, rowClasses, bodyClasses, fixed, region, regionRef, children } = props;
  const { sorting, selection, window } = props;
  const table = (
    <table className={`data-table ${fixed ? "table-fixed" : ""}`} aria-rowcount={window && rowCount(window)}>
      <TableHead {...{ columns, sorting, selection, window }} isSticky={region?.stickyHead ?? false} />
      <tbody className={bodyClasses}>
        {window && <Gap height={window.before} />}
        {rows.map((row, at) => (
          <TableRow
            key={keyOf(row)}
            row={row}
            columns={columns}
            index={at + (window?.first ?? 0)}
            classes={rowClasses?.(row) ?? ""}
            fixedHeight={window?.rowHeight}
            isActive={window !== undefined && window.active === at + window.first}
            name={selection?.nameOf(row)}
            isSelected={selection?.isSelected(row) ?? false}
            onToggle={selection?.onToggle}
          />
        ))}
        {window && <Gap height={window.after} />}
      </tbody>
    </table>
  );
  if (!region) return table;
  return (
    <div ref={regionRef} tabIndex={0} role="region" aria-label={region.label} className={region.className}>
      {table}
      {children}
    </div>
  );
}

/** The number of rows with the head, as ARIA counts them; -1 means that it is not known. */
function rowCount({ count }: RowWindow): number {
  return count === null ? -1 : count + 1;
}

/** Stands in for rows that are not in the page. */
function Gap({ height }: { height: number }) {
  return height > 0 ? <tr aria-hidden="true" style={{ height }} /> : null;
}
