import { memo, useEffect, useRef } from "react";

import { CHECKBOX_CLASSES, type Column, columnClasses } from "./columns";

interface TableRowProps<Row, Sort extends string> {
  row: Row;
  columns: readonly Column<Row, Sort>[];
  index: number;
  classes: string;
  /** Pixels, in a table of which only some rows are in the page. */
  fixedHeight: number | undefined;
  /** Whether the row's first link gets the focus. */
  isActive: boolean;
  /** The row in words, where rows can be selected. */
  name: string | undefined;
  isSelected: boolean;
  onToggle: ((row: Row) => void) | undefined;
}

/** A row. It is rendered again only when its own properties have changed. */
export const TableRow = memo(RowOfCells) as typeof RowOfCells;

function RowOfCells<Row, Sort extends string>(props: TableRowProps<Row, Sort>) {
  const { row, columns, index, classes, fixedHeight, isActive, name, isSelected, onToggle } = props;
  const element = useRef<HTMLTableRowElement>(null);
  useEffect(() => {
    if (isActive) element.current?.querySelector("a")?.focus({ preventScroll: true });
  }, [isActive]);
  return (
    <tr
      ref={element}
      aria-rowindex={fixedHeight && index + 2}
      style={fixedHeight ? { height: fixedHeight } : undefined}
      className={`${onToggle ? "relative" : ""} ${isSelected ? "bg-tint" : ""} ${classes}`}
    >
      {onToggle && (
        <td className={CHECKBOX_CLASSES}>
          <label className="absolute inset-y-0 left-0 z-1 grid w-9 cursor-pointer place-items-center">
            <input type="checkbox" checked={isSelected} onChange={() => onToggle(row)} />
            <span className="sr-only">Select {name}</span>
          </label>
        </td>
      )}
      {columns.map((column) => (
        <Cell key={column.name} {...{ column, row, index }} />
      ))}
    </tr>
  );
}

interface CellProps<Row, Sort extends string> {
  column: Column<Row, Sort>;
  row: Row;
  index: number;
}

function Cell<Row, Sort extends string>({ column, row, index }: CellProps<Row, Sort>) {
  const { cell, below, isRowHead, className = "" } = column;
  const classes = `${columnClasses(column)} ${className}`;
  const content = (
    <>
      {cell(row, index)}
      {below && <span className="fact block truncate md:hidden">{below(row)}</span>}
    </>
  );
  if (!isRowHead) return <td className={classes}>{content}</td>;
  return (
    <th scope="row" className={`border-t border-line ${classes}`}>
      {content}
    </th>
  );
}
