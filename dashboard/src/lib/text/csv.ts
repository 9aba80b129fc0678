/** Comma-separated values, as RFC 4180 defines them. NaN and null are empty. */

import { saveFile } from "@/lib/browser/saveFile";

type Row = readonly (string | number | null)[];

export function csv(head: readonly string[], rows: Iterable<Row>): string {
  const lines = [head.map(cell).join(",")];
  for (const row of rows) lines.push(row.map(cell).join(","));
  return `${lines.join("\r\n")}\r\n`;
}

function cell(value: string | number | null): string {
  if (value === null || Number.isNaN(value)) return "";
  if (typeof value === "number") return String(value);
  // A spreadsheet computes a cell that begins like a formula, so the quote makes it a text.
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

export function saveCsv(name: string, head: readonly string[], rows: Iterable<Row>): void {
  saveFile(name, new Blob([csv(head, rows)], { type: "text/csv" }));
}
