import type { Job } from "@/api/types";
import { flatten } from "@/lib/flatten";
import { Section } from "@/parts/Section";

/** As they were resolved when the job was created: what "auto" became, and every default. */
export function Settings({ job }: { job: Job }) {
  const { model, seed, method, adapter, training, metadata, integrations } = job;
  const settings = flatten({ model, seed, method, adapter, training, metadata, integrations });
  return (
    <Section title="Settings, as the job was created">
      <dl>
        {settings.map(([path, value]) => (
          <div key={path} className="flex justify-between gap-4 border-t border-line px-4 py-1">
            <dt className="font-mono text-xs text-muted break-all">{path}</dt>
            <dd className="text-right font-mono text-xs break-all">{value}</dd>
          </div>
        ))}
      </dl>
    </Section>
  );
}
