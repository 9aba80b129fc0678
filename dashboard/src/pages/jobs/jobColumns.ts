import type { Sort } from "@/lib/addresses/jobSearch";

export interface ColumnHead {
  label: string;
  sort?: Sort;
  /** Of head and cells alike. On a phone status, name and loss are left; the name's cell tells the rest. */
  className: string;
}

export const COLUMNS = {
  status: { label: "Status", sort: "status", className: "w-30 md:w-33" },
  name: { label: "Name", sort: "name", className: "" },
  model: { label: "Base model", sort: "model", className: "hidden w-48 lg:table-cell" },
  method: { label: "Method", sort: "method", className: "hidden w-32 md:table-cell" },
  data: { label: "Training file", className: "hidden w-44 xl:table-cell" },
  progress: { label: "Progress", sort: "progress", className: "hidden w-52 md:table-cell" },
  rate: { label: "Tokens/s", className: "hidden w-22 text-right min-[88rem]:table-cell" },
  curve: { label: "Loss", className: "hidden w-28 lg:table-cell" },
  loss: { label: "Best val. loss", sort: "best", className: "w-20 md:w-28 text-right" },
  created: { label: "Created", sort: "created", className: "hidden w-32 md:table-cell text-right" },
} as const satisfies Record<string, ColumnHead>;

/** Of the column of ticks. */
export const TICK = "w-9";

export const HEADS: readonly ColumnHead[] = Object.values(COLUMNS);
