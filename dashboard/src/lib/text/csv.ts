/** Comma-separated values, as RFC 4180 has them. NaN and null are empty. */

import { save } from "@/lib/browser/saveFile";

type Row = readonly (string | number | null)[];

export function csv(head: readonly string[], rows: Iterable<Row>): string {
  const lines = [head.map(cell).join(",")];
  for (const row of rows) lines.push(row.map(cell).join(","));
  return `${lines.join("\r\n")}\r\n`;
}

function cell(value: string | number | null): string {
  if (value === null || Number.isNaN(value)) return "";
  if (typeof value === "number") return String(value);
  // A spreadsheet would compute what begins like a formula.
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

export function saveCsv(name: string, head: readonly string[], rows: Iterable<Row>): void {
  save(name, new Blob([csv(head, rows)], { type: "text/csv" }));
}
