import { Icon } from "@/components/basics/Icon";

import {
  CHECKBOX_CLASSES,
  type Column,
  columnClasses,
  type RowSelection,
  type RowWindow,
  type Sorting,
} from "./columns";

interface TableHeadProps<Row, Sort extends string> {
  columns: readonly Column<Row, Sort>[];
  isSticky: boolean;
  sorting?: Sorting<Sort> | undefined;
  selection?: RowSelection<Row> | undefined;
  window?: RowWindow | undefined;
}

export function TableHead<Row, Sort extends string>(props: TableHeadProps<Row, Sort>) {
  const { columns, isSticky, sorting, selection, window } = props;
  const edge = isSticky ? "border-b border-line" : "";
  return (
    <thead ref={window?.headRef} className={isSticky ? "sticky top-0 z-10" : ""}>
      <tr aria-rowindex={window && 1}>
        {selection && (
          <th scope="col" className={`${CHECKBOX_CLASSES} ${edge}`}>
            <input
              type="checkbox"
              aria-label={selection.allLabel}
              checked={selection.isAllSelected}
              onChange={selection.onToggleAll}
            />
          </th>
        )}
        {columns.map((column) => (
          <th
            key={column.name}
            scope="col"
            className={`${columnClasses(column)} ${edge}`}
            aria-sort={sorting && column.sort && direction(sorting, column.sort)}
          >
            <HeadContent column={column} sorting={sorting} />
          </th>
        ))}
      </tr>
    </thead>
  );
}

interface HeadContentProps<Row, Sort extends string> {
  column: Column<Row, Sort>;
  sorting: Sorting<Sort> | undefined;
}

function HeadContent<Row, Sort extends string>({ column, sorting }: HeadContentProps<Row, Sort>) {
  const { name, head = name, hiddenHead, sort } = column;
  if (hiddenHead) return <span className="sr-only">{head}</span>;
  if (!sort || !sorting) return head;
  return (
    <button
      type="button"
      className="inline-flex items-center gap-1 font-medium [text-align:inherit] hover:text-ink"
      onClick={() => sorting.onSort(sort)}
    >
      {head}
      {sorting.by === sort && <Icon name={sorting.isDescending ? "down" : "up"} className="size-3" />}
    </button>
  );
}

function direction<Sort extends string>({ by, isDescending }: Sorting<Sort>, sort: Sort) {
  if (by !== sort) return "none";
  return isDescending ? "descending" : "ascending";
}
