import type { Job } from "@/api/types";
import { settingsOf } from "@/lib/jobs/comparison";
import { Section } from "@/parts/page/Section";
import { SettingList } from "@/parts/page/SettingList";

/** The settings with the values that they got when the job was created. */
export function JobSettings({ job }: { job: Job }) {
  return (
    <Section title="Settings, as the job was created">
      <SettingList settings={settingsOf(job)} />
    </Section>
  );
}
