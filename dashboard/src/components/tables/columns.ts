/** The columns of a table, and its order, selection and size. */

import type { ReactNode, Ref } from "react";

export interface Column<Row, Sort extends string = string> {
  /** Also the key of the column, so no two columns of a table have the same name. */
  name: string;
  /** The head's content where it is more than the name. */
  head?: ReactNode;
  /** Whether only screen readers get the head: the head of a column of buttons is hidden. */
  hiddenHead?: boolean;
  cell: (row: Row, index: number) => ReactNode;
  /** Shown below the cell on a narrow screen: the values of columns that are hidden there. */
  below?: (row: Row) => ReactNode;
  align?: "right";
  /** Whether the cell is the head of its row. */
  isRowHead?: boolean;
  /** The width of the window from which on the column is shown. A narrower window hides it. */
  shownFrom?: keyof typeof SHOWN_FROM;
  /** Classes of head and cells: their width. */
  width?: string;
  /** Classes of the cells alone. */
  className?: string;
  /** The order that a click on the head asks for. */
  sort?: Sort;
}

export interface Sorting<Sort extends string> {
  by: Sort;
  isDescending: boolean;
  onSort: (by: Sort) => void;
}

/** A column of checkboxes before all others. */
export interface RowSelection<Row> {
  isSelected: (row: Row) => boolean;
  nameOf: (row: Row) => string;
  /** Must be the same function from one render to the next, so that only rows that changed are rendered again. */
  onToggle: (row: Row) => void;
  isAllSelected: boolean;
  allLabel: string;
  onToggleAll: () => void;
}

/** The rows of a long table that are in the page. Empty space stands in for the rows before and after them. */
export interface RowWindow {
  /** The index of the first of these rows among all rows. */
  first: number;
  /** Pixels of empty space before and after the rows. */
  before: number;
  after: number;
  /** Pixels of each row. */
  rowHeight: number;
  /** The number of all rows; null while it is not known. */
  count: number | null;
  /** The index of the row whose first link gets the focus; -1 for no row. */
  active: number;
  headRef: Ref<HTMLTableSectionElement>;
}

/** A region around a table that scrolls on its own and that the keyboard can reach. */
export interface ScrollRegion {
  label: string;
  /** Classes: its size, and in which direction it scrolls. */
  className: string;
  /** Whether the head stays visible while the rows scroll. */
  stickyHead?: boolean;
}

/** The region of a table that may be wider than the page. */
export const wideRegion = (label: string): ScrollRegion => ({ label, className: "wide-table" });

/** A column of buttons and links, without a head. */
export function actionsColumn<Row>(cell: Column<Row>["cell"], more: Partial<Column<Row>> = {}): Column<Row> {
  return { name: "Actions", hiddenHead: true, align: "right", cell, ...more };
}

const SHOWN_FROM = {
  sm: "hidden sm:table-cell",
  md: "hidden md:table-cell",
  lg: "hidden lg:table-cell",
  xl: "hidden xl:table-cell",
  "88rem": "hidden min-[88rem]:table-cell",
} as const;

/** The classes that head and cells of a column share. */
export function columnClasses({ shownFrom, align, width }: Pick<Column<never>, "shownFrom" | "align" | "width">): string {
  return [shownFrom && SHOWN_FROM[shownFrom], align && "number", width].filter(Boolean).join(" ");
}

/** The classes of the column of checkboxes. */
export const CHECKBOX_CLASSES = "w-9";
