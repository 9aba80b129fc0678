import { type SettingRow, settingRows } from "@/lib/jobs/comparison";
import { integer } from "@/lib/text/format";
import { LineSample } from "@/components/charts/LineSample";
import { FileName } from "@/components/files/FileName";
import { Section } from "@/components/page/Section";
import { SettingList } from "@/components/page/SettingList";
import { type Column, wideRegion } from "@/components/tables/columns";
import { DataTable } from "@/components/tables/DataTable";

import type { Compared } from "./useCompared";

const TITLE = "Settings that differ";

/** The settings in which the jobs differ. The settings that are the same are folded away. */
export function Differences({ compared }: { compared: readonly Compared[] }) {
  const rows = settingRows(compared.flatMap(({ job }) => job ?? []));
  const differing = rows.filter(({ differs }) => differs);
  const same = rows.filter(({ differs }) => !differs);
  return (
    <Section title={TITLE}>
      {differing.length === 0 && <p className="px-4 pb-3 text-muted">None.</p>}
      {differing.length > 0 && (
        <DataTable
          columns={columnsOf(compared)}
          rows={differing}
          keyOf={({ path }) => path}
          bodyClasses="font-mono text-xs"
          region={wideRegion(`${TITLE}, table`)}
        />
      )}
      <details className="border-t border-line">
        <summary className="cursor-pointer px-4 py-2">{integer(same.length)} settings are the same</summary>
        <SettingList settings={same.map(({ path, values }) => [path, shown(path, values[0] ?? "")])} />
      </details>
    </Section>
  );
}

function columnsOf(compared: readonly Compared[]): Column<SettingRow>[] {
  const jobs = compared.map(
    ({ id, styleIndex, training }, at): Column<SettingRow> => ({
      name: id,
      head: (
        <span className="flex items-center gap-2 break-all">
          <LineSample styleIndex={styleIndex} />
          {training.name}
        </span>
      ),
      className: "min-w-28 break-all",
      cell: ({ path, values }) => shown(path, values[at] ?? ""),
    }),
  );
  return [{ name: "Setting", isRowHead: true, className: "min-w-36 break-all", cell: ({ path }) => path }, ...jobs];
}

const FILES = new Set(["training_file", "validation_file"]);

/** The value, or the name of the file if it is the id of a file. */
function shown(path: string, value: string) {
  return FILES.has(path) && value.startsWith("file-") ? <FileName id={value} withId /> : value;
}
