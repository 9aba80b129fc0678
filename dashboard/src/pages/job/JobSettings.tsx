import { useQuery } from "@tanstack/react-query";
import type { ComponentProps } from "react";

import { methodsQuery, schemasQuery } from "@/api/jobs/offers";
import { useSeen } from "@/lib/browser/useSeen";
import { shownSettings } from "@/lib/jobs/settings";
import { Section } from "@/components/page/Section";
import { SettingList } from "@/components/page/SettingList";
import type { Job } from "@/types/api";

/** The settings with the values that they got when the job was created: first those that differ from their default. */
export function JobSettings({ job }: { job: Job }) {
  const [box, isSeen] = useSeen<HTMLDivElement>();
  const { data: methods } = useQuery({ ...methodsQuery, enabled: isSeen });
  const { data: schemas } = useQuery({ ...schemasQuery, enabled: isSeen });
  const { changed, automatic, usual } = shownSettings(job, methods && schemas && { methods, schemas });
  return (
    <Section title="Settings, as the job was created">
      <div ref={box}>
        <SettingList settings={changed} />
      </div>
      <More title="Automatic unless the request names them" settings={automatic} />
      <More title="At their defaults" settings={usual} />
    </Section>
  );
}

function More({ title, settings }: ComponentProps<typeof SettingList> & { title: string }) {
  if (!settings.length) return null;
  return (
    <>
      <h3 className="border-t border-line px-4 pt-3 pb-1.5">{title}</h3>
      <SettingList settings={settings} />
    </>
  );
}
