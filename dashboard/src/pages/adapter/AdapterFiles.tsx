import { adapterFilePath } from "@/api/project/adapters";
import type { Adapter } from "@/api/types";
import { bytes } from "@/lib/text/format";
import { Download } from "@/parts/basics/DownloadLink";
import { Hash } from "@/parts/page/Facts";
import { Section } from "@/parts/page/Section";

export function AdapterFiles({ adapter }: { adapter: Adapter }) {
  return (
    <Section title="Files">
      <ul>
        {adapter.files.map((file) => (
          <li key={file.name} className="grid gap-1 border-t border-line px-4 py-2">
            <div className="flex items-center gap-3">
              <span className="min-w-0 flex-1 truncate" title={file.name}>
                {file.name}
              </span>
              <span className="text-muted whitespace-nowrap">{bytes(file.bytes)}</span>
              <Download href={adapterFilePath(adapter.id, file.name)} name={file.name} />
            </div>
            <Hash>{`sha256 ${file.sha256}`}</Hash>
          </li>
        ))}
      </ul>
    </Section>
  );
}
