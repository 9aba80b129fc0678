import { flatten } from "@/lib/text/flatten";
import { Section } from "@/components/page/Section";
import { SettingList } from "@/components/page/SettingList";
import type { Eval } from "@/types/api";

/** The criteria with all of their options, as the eval was created. */
export function Criteria({ criteria }: { criteria: Eval["testing_criteria"] }) {
  return (
    <Section title="Criteria">
      <div className="grid gap-4 px-4 pb-4 md:grid-cols-2">
        {criteria.map((criterion) => (
          <div key={criterion.name} className="min-w-0">
            <h3 className="font-medium break-words">{criterion.name}</h3>
            <SettingList settings={flatten(optionsOf(criterion))} />
          </div>
        ))}
      </div>
    </Section>
  );
}

/** Returns the options that are set: most options of a criterion are left at null. */
function optionsOf(criterion: Eval["testing_criteria"][number]): Record<string, unknown> {
  return Object.fromEntries(Object.entries(criterion).filter(([name, value]) => name !== "name" && value !== null));
}
