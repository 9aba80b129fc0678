import { adapterFilePath } from "@/api/project/adapters";
import { FileLine } from "@/components/files/FileLine";
import { Section } from "@/components/page/Section";
import type { Adapter } from "@/types/api";

export function AdapterFiles({ adapter }: { adapter: Adapter }) {
  return (
    <Section title="Files">
      <ul>
        {adapter.files.map((file) => (
          <FileLine
            key={file.name}
            size={file.bytes}
            sha256={file.sha256}
            download={{ href: adapterFilePath(adapter.id, file.name), name: file.name }}
          >
            <span title={file.name}>{file.name}</span>
          </FileLine>
        ))}
      </ul>
    </Section>
  );
}
