import { type SettingRow, settingRows } from "@/lib/jobs/comparison";
import { integer } from "@/lib/text/format";
import { FileName } from "@/parts/files/FileName";
import { LineSample } from "@/parts/charts/LineSample";
import { Section } from "@/parts/page/Section";

import type { Compared } from "./useCompared";

/** The settings in which the jobs differ; the others are folded. */
export function Differences({ compared }: { compared: readonly Compared[] }) {
  const rows = settingRows(compared.flatMap(({ job }) => job ?? []));
  const differing = rows.filter(({ differs }) => differs);
  const same = rows.filter(({ differs }) => !differs);
  return (
    <Section title="Settings that differ">
      {differing.length === 0 && <p className="px-4 pb-3 text-muted">None.</p>}
      {differing.length > 0 && <Table compared={compared} rows={differing} label="Settings that differ" />}
      <details className="border-t border-line">
        <summary className="cursor-pointer px-4 py-2">{integer(same.length)} settings are the same</summary>
        <dl>
          {same.map(({ path, values }) => (
            <div key={path} className="flex justify-between gap-4 border-t border-line px-4 py-1 font-mono text-xs">
              <dt className="break-all text-muted">{path}</dt>
              <dd className="text-right break-all">
                <Value path={path} value={values[0] ?? ""} />
              </dd>
            </div>
          ))}
        </dl>
      </details>
    </Section>
  );
}

const FILES = new Set(["training_file", "validation_file"]);

function Value({ path, value }: { path: string; value: string }) {
  return FILES.has(path) && value.startsWith("file-") ? <FileName id={value} /> : value;
}

function Table({ compared, rows, label }: { compared: readonly Compared[]; rows: SettingRow[]; label: string }) {
  return (
    <div className="wide-table" tabIndex={0} role="region" aria-label={label}>
      <table className="data-table">
        <thead>
          <tr>
            <th scope="col">Setting</th>
            {compared.map(({ id, place, run }) => (
              <th key={id} scope="col">
                <span className="flex items-center gap-2 break-all">
                  <LineSample place={place} />
                  {run.name}
                </span>
              </th>
            ))}
          </tr>
        </thead>
        <tbody className="font-mono text-xs">
          {rows.map(({ path, values }) => (
            <tr key={path}>
              <th scope="row" className="min-w-36 border-t border-line break-all">
                {path}
              </th>
              {values.map((value, at) => (
                <td key={compared[at]?.id} className="min-w-28 break-all">
                  <Value path={path} value={value} />
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
