import type { Job } from "@/api/types";
import { settingsOf } from "@/lib/jobs/comparison";
import { Section } from "@/parts/page/Section";

export function Settings({ job }: { job: Job }) {
  return (
    <Section title="Settings, as the job was created">
      <dl>
        {settingsOf(job).map(([path, value]) => (
          <div key={path} className="flex justify-between gap-4 border-t border-line px-4 py-1">
            <dt className="font-mono text-xs text-muted break-all">{path}</dt>
            <dd className="text-right font-mono text-xs break-all">{value}</dd>
          </div>
        ))}
      </dl>
    </Section>
  );
}
